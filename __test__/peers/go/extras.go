package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// extras is test.Streams, registered by hand: methods that the integration tests of ttrpc lack.
var extras = &ttrpc.ServiceDesc{
	Methods: map[string]ttrpc.Method{
		// Describe answers with the request's metadata and deadline.
		"Describe": func(ctx context.Context, unmarshal func(any) error) (any, error) {
			if err := unmarshal(new(streaming.EchoPayload)); err != nil {
				return nil, err
			}
			return describe(ctx)
		},
		// Large answers with a message of Sum bytes.
		"Large": func(_ context.Context, unmarshal func(any) error) (any, error) {
			var request streaming.Sum
			if err := unmarshal(&request); err != nil {
				return nil, err
			}
			return &streaming.EchoPayload{Msg: strings.Repeat("a", int(request.Sum))}, nil
		},
	},
	Streams: map[string]ttrpc.Stream{
		// DescribeStream does the same as Describe.
		"DescribeStream": {StreamingServer: true, Handler: func(ctx context.Context, stream ttrpc.StreamServer) (any, error) {
			if err := stream.RecvMsg(new(streaming.EchoPayload)); err != nil {
				return nil, err
			}
			description, err := describe(ctx)
			if err != nil {
				return nil, err
			}
			return nil, stream.SendMsg(description)
		}},
		// Count sends Num messages, numbered from 0, each with a text of Sum bytes.
		"Count": {StreamingServer: true, Handler: func(_ context.Context, stream ttrpc.StreamServer) (any, error) {
			var request streaming.Sum
			if err := stream.RecvMsg(&request); err != nil {
				return nil, err
			}
			text := strings.Repeat("a", int(request.Sum))
			for i := range request.Num {
				if err := stream.SendMsg(&streaming.EchoPayload{Seq: uint32(i), Msg: text}); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}},
		// Fail sends back the first message, then fails with its number as the code, its text as the message and itself
		// as a detail.
		"Fail": {StreamingClient: true, StreamingServer: true, Handler: func(_ context.Context, stream ttrpc.StreamServer) (any, error) {
			var request streaming.EchoPayload
			if err := stream.RecvMsg(&request); err != nil {
				return nil, err
			}
			if err := stream.SendMsg(&request); err != nil {
				return nil, err
			}
			failure, err := status.New(codes.Code(request.Seq), request.Msg).WithDetails(&request)
			if err != nil {
				return nil, err
			}
			return nil, failure.Err()
		}},
		// Hang sends one message and waits until the caller has gone.
		"Hang": {StreamingServer: true, Handler: func(ctx context.Context, stream ttrpc.StreamServer) (any, error) {
			var request streaming.EchoPayload
			if err := stream.RecvMsg(&request); err != nil {
				return nil, err
			}
			if err := stream.SendMsg(&request); err != nil {
				return nil, err
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}},
	},
}

// describe returns a request's metadata and the rest of its timeout as JSON.
func describe(ctx context.Context) (*streaming.EchoPayload, error) {
	metadata, _ := ttrpc.GetMetadata(ctx)
	var timeout int64
	if deadline, ok := ctx.Deadline(); ok {
		timeout = time.Until(deadline).Milliseconds()
	}
	text, err := json.Marshal(map[string]any{"metadata": metadata, "timeoutMs": timeout})
	return &streaming.EchoPayload{Msg: string(text)}, err
}

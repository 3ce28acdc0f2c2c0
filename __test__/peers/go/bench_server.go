package main

import (
	"context"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const benchService = "test.Bench"

// bench is the service of the benchmark. ttrpc for Go requires messages, so the benchmark's payloads are BytesValues.
var bench = &ttrpc.ServiceDesc{
	Methods: map[string]ttrpc.Method{
		// Echo answers with the payload.
		"Echo": func(_ context.Context, unmarshal func(any) error) (any, error) {
			var request wrapperspb.BytesValue
			if err := unmarshal(&request); err != nil {
				return nil, err
			}
			return &request, nil
		},
	},
	Streams: map[string]ttrpc.Stream{
		// Sink receives everything and answers with the first message.
		"Sink": {StreamingClient: true, Handler: func(_ context.Context, stream ttrpc.StreamServer) (any, error) {
			first := new(wrapperspb.BytesValue)
			received := 0
			err := each(bytesReceiver(stream), func(message *wrapperspb.BytesValue) error {
				if received++; received == 1 {
					first = message
				}
				return nil
			})
			return first, err
		}},
		// Source sends messages of Num bytes for Sum milliseconds.
		"Source": {StreamingServer: true, Handler: func(_ context.Context, stream ttrpc.StreamServer) (any, error) {
			var request streaming.Sum
			if err := stream.RecvMsg(&request); err != nil {
				return nil, err
			}
			message := benchPayload(int(request.Num))
			until := time.Now().Add(time.Duration(request.Sum) * time.Millisecond)
			for time.Now().Before(until) {
				if err := stream.SendMsg(message); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}},
		// Chat sends each message back.
		"Chat": {StreamingClient: true, StreamingServer: true, Handler: func(_ context.Context, stream ttrpc.StreamServer) (any, error) {
			return nil, each(bytesReceiver(stream), func(message *wrapperspb.BytesValue) error { return stream.SendMsg(message) })
		}},
	},
}

// benchPayload is a message of size bytes, its header included.
func benchPayload(size int) *wrapperspb.BytesValue {
	header := 1
	for rest := size; rest > 0; rest >>= 7 {
		header++
	}
	return wrapperspb.Bytes(make([]byte, max(0, size-header)))
}

// bytesReceiver receives a message from a stream of either side.
func bytesReceiver(stream interface{ RecvMsg(any) error }) func() (*wrapperspb.BytesValue, error) {
	return func() (*wrapperspb.BytesValue, error) {
		message := new(wrapperspb.BytesValue)
		return message, stream.RecvMsg(message)
	}
}

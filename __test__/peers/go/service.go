package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/protobuf/types/known/emptypb"
)

// nullText is the text that ttrpc's integration tests send to the methods without an answer.
const nullText = "non-empty empty"

// service is the streaming service of ttrpc's integration tests.
type service struct{}

// Echo answers with the next number.
func (service) Echo(_ context.Context, payload *streaming.EchoPayload) (*streaming.EchoPayload, error) {
	payload.Seq++
	return payload, nil
}

// EchoStream answers each message with the next number.
func (service) EchoStream(_ context.Context, stream streaming.TTRPCStreaming_EchoStreamServer) error {
	return each(stream.Recv, func(payload *streaming.EchoPayload) error {
		payload.Seq++
		return stream.Send(payload)
	})
}

// SumStream adds up the messages.
func (service) SumStream(_ context.Context, stream streaming.TTRPCStreaming_SumStreamServer) (*streaming.Sum, error) {
	var sum streaming.Sum
	err := each(stream.Recv, func(part *streaming.Part) error {
		sum.Sum += part.Add
		sum.Num++
		return nil
	})
	return &sum, err
}

// DivideStream answers with 0, 1, 2 and so on; the last of Num parts is what is missing to Sum.
func (service) DivideStream(_ context.Context, sum *streaming.Sum, stream streaming.TTRPCStreaming_DivideStreamServer) error {
	rest := sum.Sum
	for i := range sum.Num - 1 {
		rest -= i
		if err := stream.Send(&streaming.Part{Add: i}); err != nil {
			return err
		}
	}
	return stream.Send(&streaming.Part{Add: rest})
}

// EchoNull checks what it gets and answers with an empty message.
func (service) EchoNull(_ context.Context, stream streaming.TTRPCStreaming_EchoNullServer) (*emptypb.Empty, error) {
	var seq uint32
	err := each(stream.Recv, func(payload *streaming.EchoPayload) error { return checkNull(payload, &seq) })
	return &emptypb.Empty{}, err
}

// EchoNullStream checks what it gets and answers each message with ten empty ones.
func (service) EchoNullStream(_ context.Context, stream streaming.TTRPCStreaming_EchoNullStreamServer) error {
	var seq uint32
	return each(stream.Recv, func(payload *streaming.EchoPayload) error {
		if err := checkNull(payload, &seq); err != nil {
			return err
		}
		for range 10 {
			if err := stream.Send(&emptypb.Empty{}); err != nil {
				return err
			}
		}
		return nil
	})
}

// EmptyPayloadStream answers with 1 and 2.
func (service) EmptyPayloadStream(_ context.Context, _ *emptypb.Empty, stream streaming.TTRPCStreaming_EmptyPayloadStreamServer) error {
	if err := stream.Send(&streaming.EchoPayload{Seq: 1}); err != nil {
		return err
	}
	return stream.Send(&streaming.EchoPayload{Seq: 2})
}

// each receives until the end.
func each[T any](receive func() (T, error), do func(T) error) error {
	for {
		message, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := do(message); err != nil {
			return err
		}
	}
}

func checkNull(payload *streaming.EchoPayload, seq *uint32) error {
	if payload.Seq != *seq || payload.Msg != nullText {
		return fmt.Errorf("unexpected %q with the number %d, expected %d", payload.Msg, payload.Seq, *seq)
	}
	*seq++
	return nil
}

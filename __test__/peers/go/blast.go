package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
)

// blast makes unary calls, inflight at a time on one connection, and prints how many failed and the first reason.
func blast(address string, inflight, calls int) error {
	conn, err := dial(address)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	service := streaming.NewTTRPCStreamingClient(client)
	var (
		workers sync.WaitGroup
		next    atomic.Int64
		errors  atomic.Int64
		first   atomic.Pointer[string]
	)
	for range inflight {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(calls); i = next.Add(1) {
				reply, err := service.Echo(context.Background(), &streaming.EchoPayload{Seq: uint32(i)})
				if err == nil && int64(reply.Seq) != i+1 {
					err = fmt.Errorf("call %d was answered %d", i, reply.Seq)
				}
				if err != nil {
					errors.Add(1)
					text := err.Error()
					first.CompareAndSwap(nil, &text)
				}
			}
		})
	}
	workers.Wait()
	return line(map[string]any{"calls": calls, "errors": errors.Load(), "first": first.Load()})
}

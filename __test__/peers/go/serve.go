package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
)

// serve runs the server until SIGTERM or, if asked to, until stdin ends, so that it cannot outlive the test.
func serve(address string, stdin bool) error {
	network, rest, err := split(address)
	if err != nil {
		return err
	}
	server, err := ttrpc.NewServer()
	if err != nil {
		return err
	}
	streaming.RegisterTTRPCStreamingService(server, service{})
	server.RegisterService("test.Streams", extras)
	server.RegisterService(benchService, bench)
	listener, err := net.Listen(network, rest)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if stdin {
		go func() {
			// An unreadable stdin counts as ended.
			_, _ = io.Copy(io.Discard, os.Stdin)
			stop()
		}()
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(context.Background(), listener) }()
	fmt.Println("ready")
	select {
	case <-ctx.Done():
	case err := <-served:
		return err
	}
	if err := server.Close(); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, ttrpc.ErrServerClosed) {
		return err
	}
	return nil
}

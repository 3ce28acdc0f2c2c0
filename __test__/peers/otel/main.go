// A client with containerd 2's interceptor. It makes a call in a span, and prints its spans.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net"
	"os"

	"github.com/containerd/otelttrpc"
	"github.com/containerd/ttrpc"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 {
		log.Fatal("usage: otel-client PATH SERVICE METHOD")
	}
	conn, err := net.Dial("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	provider := trace.NewTracerProvider()
	interceptor := otelttrpc.UnaryClientInterceptor(
		otelttrpc.WithTracerProvider(provider),
		otelttrpc.WithPropagators(propagation.TraceContext{}),
	)
	// Runs inside the interceptor, so that its span is the active one.
	said := func(ctx context.Context, request *ttrpc.Request, reply *ttrpc.Response, _ *ttrpc.UnaryClientInfo, invoke ttrpc.Invoker) error {
		if err := json.NewEncoder(os.Stdout).Encode(request.Metadata); err != nil {
			return err
		}
		return invoke(ctx, request, reply)
	}
	client := ttrpc.NewClient(conn, ttrpc.WithChainUnaryClientInterceptor(interceptor, said))
	if err := client.Call(context.Background(), os.Args[2], os.Args[3], &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		log.Fatal(err)
	}
}

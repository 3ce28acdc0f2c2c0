package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

type callOptions struct {
	method, text              string
	count, repeat, code, size int
	hold                      bool
	metadata                  ttrpc.MD
	timeout                   time.Duration
}

func (options *callOptions) addMetadata(pair string) error {
	key, value, found := strings.Cut(pair, "=")
	if !found {
		return errors.New("metadata is key=value")
	}
	if options.metadata == nil {
		options.metadata = ttrpc.MD{}
	}
	options.metadata.Append(key, value)
	return nil
}

// result is the outcome of a call, printed as a line.
type result struct {
	Method   string `json:"method"`
	Received int    `json:"received"`
	Text     string `json:"text,omitempty"`
	Holding  bool   `json:"holding,omitempty"`
	Error    *fault `json:"error,omitempty"`
}

// fault says how a call failed: with a status of the server, or otherwise.
type fault struct {
	Kind    string        `json:"kind"`
	Code    int           `json:"code"`
	Message string        `json:"message"`
	Details []faultDetail `json:"details"`
}

type faultDetail struct {
	TypeURL string `json:"type_url"`
	Value   string `json:"value"`
}

type caller struct {
	client  *ttrpc.Client
	service streaming.TTRPCStreamingClient
	options callOptions
	result  result
}

// methods are the possible calls. Each checks the numbers of the messages that it gets.
var methods = map[string]func(*caller, context.Context) error{
	"Echo":               (*caller).echo,
	"EchoStream":         (*caller).echoStream,
	"SumStream":          (*caller).sumStream,
	"DivideStream":       (*caller).divideStream,
	"EchoNull":           (*caller).echoNull,
	"EchoNullStream":     (*caller).echoNullStream,
	"EmptyPayloadStream": (*caller).emptyPayloadStream,
	"Describe":           (*caller).describe,
	"Count":              (*caller).countStream,
	"Fail":               (*caller).failStream,
	"Hang":               (*caller).hangStream,
}

func callAll(address string, options callOptions) error {
	call, ok := methods[options.method]
	if !ok {
		return fmt.Errorf("no such method: %s", options.method)
	}
	conn, err := dial(address)
	if err != nil {
		return err
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	service := streaming.NewTTRPCStreamingClient(client)
	for range options.repeat {
		ctx, cancel := options.context()
		caller := caller{client: client, service: service, options: options, result: result{Method: options.method}}
		if err := call(&caller, ctx); err != nil {
			caller.result.Error = faultOf(err)
		}
		cancel()
		if err := line(caller.result); err != nil {
			return err
		}
	}
	return nil
}

func (options callOptions) context() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if options.metadata != nil {
		ctx = ttrpc.WithMetadata(ctx, options.metadata)
	}
	if options.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, options.timeout)
}

func faultOf(err error) *fault {
	failure, ok := status.FromError(err)
	if !ok {
		return &fault{Kind: "other", Message: err.Error()}
	}
	result := fault{Kind: "status", Code: int(failure.Code()), Message: failure.Message()}
	for _, detail := range failure.Proto().GetDetails() {
		result.Details = append(result.Details, faultDetail{TypeURL: detail.TypeUrl, Value: hex.EncodeToString(detail.Value)})
	}
	return &result
}

// sendAll sends while others receive, and then closes, unless the stream is held open.
func (c *caller) sendAll(stream ttrpc.ClientStream, message func(i int) any) <-chan error {
	sent := make(chan error, 1)
	go func() {
		for i := range c.options.count {
			if err := stream.SendMsg(message(i)); err != nil {
				sent <- err
				return
			}
		}
		if c.options.hold {
			sent <- nil
		} else {
			sent <- stream.CloseSend()
		}
	}()
	return sent
}

// received counts a message, whose number must be the next one.
func (c *caller) received(number, expected int) error {
	if number != expected {
		return fmt.Errorf("message %d has the number %d, not %d", c.result.Received, number, expected)
	}
	c.result.Received++
	return c.holdAfter(c.options.count)
}

// holdAfter, if the stream is held open, says that everything was received and waits to be killed.
func (c *caller) holdAfter(count int) error {
	if !c.options.hold || c.result.Received < count {
		return nil
	}
	c.result.Holding = true
	if err := line(c.result); err != nil {
		return err
	}
	select {}
}

func (c *caller) echo(ctx context.Context) error {
	for i := range c.options.count {
		reply, err := c.service.Echo(ctx, &streaming.EchoPayload{Seq: uint32(i), Msg: "echo"})
		if err != nil {
			return err
		}
		if err := c.received(int(reply.Seq), i+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *caller) echoStream(ctx context.Context) error {
	stream, err := c.service.EchoStream(ctx)
	if err != nil {
		return err
	}
	sent := c.sendAll(stream, func(i int) any {
		return &streaming.EchoPayload{Seq: uint32(i), Msg: fmt.Sprintf("%d: Echo in a stream", i)}
	})
	err = each(stream.Recv, func(reply *streaming.EchoPayload) error {
		if expected := fmt.Sprintf("%d: Echo in a stream", c.result.Received); reply.Msg != expected {
			return fmt.Errorf("the text %q in place of %q", reply.Msg, expected)
		}
		return c.received(int(reply.Seq), c.result.Received+1)
	})
	if err != nil {
		return err
	}
	return <-sent
}

func (c *caller) sumStream(ctx context.Context) error {
	stream, err := c.service.SumStream(ctx)
	if err != nil {
		return err
	}
	if err := <-c.sendAll(holding{stream}, func(i int) any { return &streaming.Part{Add: int32(i)} }); err != nil {
		return err
	}
	if err := c.holdAfter(0); err != nil {
		return err
	}
	sum, err := stream.CloseAndRecv()
	if err != nil {
		return err
	}
	if expected := c.options.count * (c.options.count - 1) / 2; int(sum.Sum) != expected {
		return fmt.Errorf("the sum is %d, not %d", sum.Sum, expected)
	}
	c.result.Received = int(sum.Num)
	return nil
}

// holding leaves the closing to CloseAndRecv.
type holding struct{ ttrpc.ClientStream }

func (holding) CloseSend() error { return nil }

func (c *caller) divideStream(ctx context.Context) error {
	count := int32(c.options.count)
	stream, err := c.service.DivideStream(ctx, &streaming.Sum{Sum: 3 * count, Num: count})
	if err != nil {
		return err
	}
	rest := int(3 * count)
	return each(stream.Recv, func(part *streaming.Part) error {
		expected := c.result.Received
		if expected == c.options.count-1 {
			expected = rest
		}
		rest -= int(part.Add)
		return c.received(int(part.Add), expected)
	})
}

func (c *caller) echoNull(ctx context.Context) error {
	stream, err := c.service.EchoNull(ctx)
	if err != nil {
		return err
	}
	if err := <-c.sendAll(holding{stream}, nullMessage); err != nil {
		return err
	}
	_, err = stream.CloseAndRecv()
	c.result.Received = 1
	return err
}

func (c *caller) echoNullStream(ctx context.Context) error {
	stream, err := c.service.EchoNullStream(ctx)
	if err != nil {
		return err
	}
	sent := c.sendAll(stream, nullMessage)
	err = each(stream.Recv, func(*emptypb.Empty) error {
		c.result.Received++
		return nil
	})
	if err != nil {
		return err
	}
	return <-sent
}

func nullMessage(i int) any {
	return &streaming.EchoPayload{Seq: uint32(i), Msg: nullText}
}

// emptyPayloadStream sends a request with an empty message. Without one, as in Go's own tests, there would be no payload.
func (c *caller) emptyPayloadStream(ctx context.Context) error {
	stream, err := c.service.EmptyPayloadStream(ctx, nil)
	if err != nil {
		return err
	}
	return each(stream.Recv, func(reply *streaming.EchoPayload) error {
		return c.received(int(reply.Seq), c.result.Received+1)
	})
}

func (c *caller) describe(ctx context.Context) error {
	var reply streaming.EchoPayload
	err := c.client.Call(ctx, "test.Streams", "Describe", &streaming.EchoPayload{}, &reply)
	c.result.Text = reply.Msg
	return err
}

func (c *caller) countStream(ctx context.Context) error {
	request := &streaming.Sum{Sum: int32(c.options.size), Num: int32(c.options.count)}
	stream, err := c.client.NewStream(ctx, &ttrpc.StreamDesc{StreamingServer: true}, "test.Streams", "Count", request)
	if err != nil {
		return err
	}
	return each(receiver(stream), func(reply *streaming.EchoPayload) error {
		if len(reply.Msg) != c.options.size {
			return fmt.Errorf("a text of %d bytes", len(reply.Msg))
		}
		return c.received(int(reply.Seq), c.result.Received)
	})
}

func (c *caller) failStream(ctx context.Context) error {
	both := &ttrpc.StreamDesc{StreamingClient: true, StreamingServer: true}
	stream, err := c.client.NewStream(ctx, both, "test.Streams", "Fail", nil)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&streaming.EchoPayload{Seq: uint32(c.options.code), Msg: c.options.text}); err != nil {
		return err
	}
	return each(receiver(stream), func(reply *streaming.EchoPayload) error {
		return c.received(int(reply.Seq), c.options.code)
	})
}

func (c *caller) hangStream(ctx context.Context) error {
	request := &streaming.EchoPayload{Seq: 1}
	stream, err := c.client.NewStream(ctx, &ttrpc.StreamDesc{StreamingServer: true}, "test.Streams", "Hang", request)
	if err != nil {
		return err
	}
	return each(receiver(stream), func(reply *streaming.EchoPayload) error { return c.received(int(reply.Seq), 1) })
}

func receiver(stream ttrpc.ClientStream) func() (*streaming.EchoPayload, error) {
	return func() (*streaming.EchoPayload, error) {
		var reply streaming.EchoPayload
		err := stream.RecvMsg(&reply)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return &reply, err
	}
}

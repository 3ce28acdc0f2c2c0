// Command go-peer is an independent test peer: ttrpc's own client and server for Go, with the streaming service of its
// integration tests, driven from the command line so that the tests can run the Node binding against them.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fail(errors.New("usage: go-peer serve|call|blast|bench-client -address unix:///path ..."))
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	address := flags.String("address", "", "unix:///path, unix://@abstract or tcp://ip:port")
	var run func() error
	switch os.Args[1] {
	case "serve":
		stdin := flags.Bool("exit-on-stdin-eof", false, "end, with status 0, when stdin ends")
		run = func() error { return serve(*address, *stdin) }
	case "call":
		var call callOptions
		flags.StringVar(&call.method, "method", "EchoStream", "a method, see methods in call.go")
		flags.IntVar(&call.count, "count", 1, "how many messages (or unary calls)")
		flags.IntVar(&call.repeat, "repeat", 1, "how many times, one after the other; one line of JSON each")
		flags.IntVar(&call.code, "code", 5, "the status that Fail asks for")
		flags.IntVar(&call.size, "size", 0, "the size of the messages that Count and Large ask for")
		flags.StringVar(&call.text, "text", "", "the message that Fail asks for")
		flags.BoolVar(&call.hold, "hold", false, "send and receive -count messages, say so, and leave the stream open")
		flags.Func("metadata", "key=value, any number of times", call.addMetadata)
		flags.DurationVar(&call.timeout, "timeout", 0, "the deadline of a call; 0 is none")
		run = func() error { return callAll(*address, call) }
	case "blast":
		inflight := flags.Int("inflight", 1, "how many calls to keep in flight on the one connection")
		calls := flags.Int("calls", 10_000, "how many calls to make")
		run = func() error { return blast(*address, *inflight, *calls) }
	case "bench-client":
		run = benchClient
	default:
		fail(fmt.Errorf("no such command: %s", os.Args[1]))
	}
	_ = flags.Parse(os.Args[2:]) // ExitOnError
	if err := run(); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "go-peer:", err)
	os.Exit(1)
}

// line prints one line of JSON; os.Stdout is not buffered.
func line(value any) error {
	encoded, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(encoded))
	return err
}

// split splits an address into the arguments of net.Dial and net.Listen. Go itself recognizes abstract sockets by their @.
func split(address string) (network, rest string, err error) {
	network, rest, found := strings.Cut(address, "://")
	if !found || (network != "unix" && network != "tcp") {
		return "", "", fmt.Errorf("not an address: %q", address)
	}
	return network, rest, nil
}

func dial(address string) (net.Conn, error) {
	network, rest, err := split(address)
	if err != nil {
		return nil, err
	}
	return net.DialTimeout(network, rest, 10*time.Second)
}

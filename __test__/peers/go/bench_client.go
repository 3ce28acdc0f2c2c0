package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// benchJob says what to measure, as in bench/job.ts.
type benchJob struct {
	Work                        string
	Address                     string
	Size, Inflight, Connections int
	WarmupMs, DurationMs        int
}

// benchResult is the result of a measurement.
type benchResult struct {
	done      int
	latencies []time.Duration
}

// benchClient runs a job for each line of stdin, until stdin ends.
func benchClient() error {
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var job benchJob
		if err := json.Unmarshal(lines.Bytes(), &job); err != nil {
			return err
		}
		if err := job.run(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (job benchJob) run() error {
	clients := make([]*ttrpc.Client, job.Connections)
	for i := range clients {
		conn, err := dial(job.Address)
		if err != nil {
			return err
		}
		clients[i] = ttrpc.NewClient(conn)
		defer clients[i].Close()
	}
	if _, err := job.measure(clients, time.Duration(job.WarmupMs)*time.Millisecond); err != nil {
		return err
	}
	begin, cpu := time.Now(), processCPU()
	result, err := job.measure(clients, time.Duration(job.DurationMs)*time.Millisecond)
	if err != nil {
		return err
	}
	taken, used := time.Since(begin), processCPU()-cpu
	slices.Sort(result.latencies)
	return line(map[string]any{
		"perSecond": float64(result.done) / taken.Seconds(),
		"p50Us":     percentile(result.latencies, 50),
		"p99Us":     percentile(result.latencies, 99),
		"cpuUs":     used.Seconds() * 1e6 / float64(max(1, result.done)),
		"failed":    0,
	})
}

func (job benchJob) measure(clients []*ttrpc.Client, duration time.Duration) (benchResult, error) {
	until := time.Now().Add(duration)
	switch job.Work {
	case "unary":
		return job.unary(clients, until)
	case "sink":
		return job.sink(clients[0], until)
	case "source":
		return job.source(clients[0], duration)
	case "chat":
		return job.chat(clients[0], until)
	}
	return benchResult{}, fmt.Errorf("no such work: %q", job.Work)
}

// unary runs one goroutine for each call in flight; each makes one call at a time.
func (job benchJob) unary(clients []*ttrpc.Client, until time.Time) (benchResult, error) {
	var (
		workers sync.WaitGroup
		results = make([]benchResult, job.Inflight)
		errors  = make([]error, job.Inflight)
		request = benchPayload(job.Size)
	)
	for i := range job.Inflight {
		workers.Go(func() {
			client, result := clients[i%len(clients)], &results[i]
			for begin := time.Now(); begin.Before(until); {
				var reply wrapperspb.BytesValue
				if errors[i] = client.Call(context.Background(), benchService, "Echo", request, &reply); errors[i] != nil {
					return
				}
				now := time.Now()
				result.latencies = append(result.latencies, now.Sub(begin))
				result.done++
				begin = now
			}
		})
	}
	workers.Wait()
	var total benchResult
	for i, result := range results {
		if errors[i] != nil {
			return total, errors[i]
		}
		total.done += result.done
		total.latencies = append(total.latencies, result.latencies...)
	}
	return total, nil
}

// sink sends as fast as possible, and then waits for the response.
func (job benchJob) sink(client *ttrpc.Client, until time.Time) (result benchResult, err error) {
	stream, err := client.NewStream(context.Background(), &ttrpc.StreamDesc{StreamingClient: true}, benchService, "Sink", nil)
	if err != nil {
		return result, err
	}
	message := benchPayload(job.Size)
	for time.Now().Before(until) {
		if err := stream.SendMsg(message); err != nil {
			return result, err
		}
		result.done++
	}
	if err := stream.CloseSend(); err != nil {
		return result, err
	}
	return result, stream.RecvMsg(new(wrapperspb.BytesValue))
}

// source receives what the server sends for a while.
func (job benchJob) source(client *ttrpc.Client, duration time.Duration) (result benchResult, err error) {
	request := &streaming.Sum{Sum: int32(duration.Milliseconds()), Num: int32(job.Size)}
	stream, err := client.NewStream(context.Background(), &ttrpc.StreamDesc{StreamingServer: true}, benchService, "Source", request)
	if err != nil {
		return result, err
	}
	err = each(bytesReceiver(stream), func(*wrapperspb.BytesValue) error {
		result.done++
		return nil
	})
	return result, err
}

// chat keeps job.Inflight messages in flight, and receives what comes back.
func (job benchJob) chat(client *ttrpc.Client, until time.Time) (result benchResult, err error) {
	both := &ttrpc.StreamDesc{StreamingClient: true, StreamingServer: true}
	stream, err := client.NewStream(context.Background(), both, benchService, "Chat", nil)
	if err != nil {
		return result, err
	}
	window := make(chan struct{}, job.Inflight)
	sent := make(chan error, 1)
	go func() {
		message := benchPayload(job.Size)
		for time.Now().Before(until) {
			window <- struct{}{}
			if err := stream.SendMsg(message); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	err = each(bytesReceiver(stream), func(message *wrapperspb.BytesValue) error {
		// ttrpc for Rust mistakes the opening of a stream for an empty message, and sends it back.
		if len(message.Value) > 0 {
			<-window
			result.done++
		}
		return nil
	})
	if err != nil {
		return result, err
	}
	return result, <-sent
}

// processCPU is the CPU time of all threads, because Go has none per goroutine.
func processCPU() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// percentile is by nearest rank, in microseconds; nil if there are no values.
func percentile(sorted []time.Duration, percent int) *float64 {
	if len(sorted) == 0 {
		return nil
	}
	rank := (len(sorted)*percent + 99) / 100
	microseconds := float64(sorted[max(0, rank-1)].Nanoseconds()) / 1000
	return &microseconds
}

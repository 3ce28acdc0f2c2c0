package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
)

// runtime waits for plugins, creates a container through them, and prints their adjustment. In the
// folder are nri.sock, and plugins/ with what to launch.
func runtime(folder string, plugins int) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	started, synced := false, make(chan struct{}, plugins)
	// The reply to Synchronize and the updates that follow it are counted in any order.
	var updated atomic.Int64
	sync := func(ctx context.Context, cb adaptation.SyncCB) error {
		installed, _ := os.ReadDir(filepath.Join(folder, "plugins"))
		// The first call is for installed plugins.
		if !started {
			started = true
			if len(installed) == 0 {
				_, err := cb(ctx, nil, nil)
				return err
			}
		}
		// 15 MiB, which takes several messages, beside what is longer than the buffer of a connection.
		pods, containers := []*adaptation.PodSandbox{}, []*adaptation.Container{}
		for i := range 60 {
			labels := map[string]string{"long": strings.Repeat("x", 256<<10)}
			pods = append(pods, &adaptation.PodSandbox{Id: fmt.Sprintf("p%d", i), Labels: labels})
			// A runtime that divides pods sends containers in the same proportion, and none of a few.
			containers = append(containers, &adaptation.Container{Id: fmt.Sprintf("c%d", i), PodSandboxId: fmt.Sprintf("p%d", i)})
		}
		updates, err := cb(ctx, pods, containers)
		if err != nil {
			return err
		}
		fmt.Println("updates", updated.Add(int64(len(updates))))
		synced <- struct{}{}
		return nil
	}
	update := func(_ context.Context, updates []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		fmt.Println("updates", updated.Add(int64(len(updates))))
		return updates[:1], nil
	}
	runtime, err := adaptation.New("test-runtime", "1.2.3", sync, update,
		adaptation.WithSocketPath(filepath.Join(folder, "nri.sock")),
		adaptation.WithPluginPath(filepath.Join(folder, "plugins")),
		adaptation.WithPluginConfigPath(filepath.Join(folder, "conf.d")),
	)
	if err != nil {
		log.Fatal(err)
	}
	// The defaults of 5 s and 2 s are little on a busy machine.
	adaptation.SetPluginRegistrationTimeout(30 * time.Second)
	adaptation.SetPluginRequestTimeout(30 * time.Second)
	if err := runtime.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	for range plugins {
		<-synced
	}
	// A plugin is called once it is synchronized. Blocking further synchronization waits for that.
	runtime.BlockPluginSync().Unblock()
	reply, err := runtime.CreateContainer(context.Background(), &adaptation.CreateContainerRequest{
		Pod:       &adaptation.PodSandbox{Id: "p1", Name: "pod", Namespace: "default"},
		Container: &adaptation.Container{Id: "c1", PodSandboxId: "p1", Name: "web", Env: []string{"A=" + strings.Repeat("y", 100_000)}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(reply.GetAdjust()); err != nil {
		log.Fatal(err)
	}
	<-ended
	runtime.Stop()
}

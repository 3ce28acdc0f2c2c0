package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	nrilog "github.com/containerd/nri/pkg/log"
)

// runtime lives through a pod and a container once a plugin is synchronized, and prints what plugins ask for. In the folder
// are nri.sock, and plugins/ with what to launch.
func runtime(folder string, timeout time.Duration) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	pod := &adaptation.PodSandbox{Id: "p1", Name: "pod", Namespace: "default"}
	plugins := &plugins{nrilog.Get(), make(chan struct{}, 1), make(chan struct{})}
	nrilog.Set(plugins)
	sync := func(ctx context.Context, cb adaptation.SyncCB) error {
		updates, err := cb(ctx, []*adaptation.PodSandbox{pod}, nil)
		if err != nil {
			fmt.Println("not synchronized:", err)
			return err
		}
		print("synchronized", updates)
		plugins.synced <- struct{}{}
		return nil
	}
	update := func(_ context.Context, updates []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		print("updates", updates)
		return nil, nil
	}
	adaptation.SetPluginRegistrationTimeout(30 * time.Second)
	adaptation.SetPluginRequestTimeout(timeout)
	runtime, err := adaptation.New("containerd", "1.7.24", sync, update,
		adaptation.WithSocketPath(filepath.Join(folder, "nri.sock")), adaptation.WithPluginPath(filepath.Join(folder, "plugins")))
	if err != nil {
		log.Fatal(err)
	}
	if err := runtime.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	// It does not synchronize what it has launched.
	if launched, _ := os.ReadDir(filepath.Join(folder, "plugins")); len(launched) == 0 {
		<-plugins.called
	}
	container := &adaptation.Container{Id: "c1", PodSandboxId: "p1", Name: "web", Env: []string{"A=1"}}
	event := func() *adaptation.StateChangeEvent {
		return &adaptation.StateChangeEvent{Pod: pod, Container: container}
	}
	ctx := context.Background()
	must(runtime.RunPodSandbox(ctx, &adaptation.StateChangeEvent{Pod: pod}))
	created, err := runtime.CreateContainer(ctx, &adaptation.CreateContainerRequest{Pod: pod, Container: container})
	must(err)
	print("adjustment", created.Adjust)
	must(runtime.PostCreateContainer(ctx, event()))
	must(runtime.StartContainer(ctx, event()))
	must(runtime.PostStartContainer(ctx, event()))
	resources := &adaptation.LinuxResources{Cpu: &adaptation.LinuxCPU{Cpus: "0"}}
	updated, err := runtime.UpdateContainer(ctx, &adaptation.UpdateContainerRequest{Pod: pod, Container: container, LinuxResources: resources})
	must(err)
	print("update", updated.Update)
	must(runtime.PostUpdateContainer(ctx, event()))
	_, err = runtime.StopContainer(ctx, &adaptation.StopContainerRequest{Pod: pod, Container: container})
	must(err)
	must(runtime.RemoveContainer(ctx, event()))
	must(runtime.StopPodSandbox(ctx, &adaptation.StateChangeEvent{Pod: pod}))
	must(runtime.RemovePodSandbox(ctx, &adaptation.StateChangeEvent{Pod: pod}))
	fmt.Println("done")
	<-ended
	runtime.Stop()
}

// plugins tells by NRI's log when a plugin is called, which is some time after it was synchronized.
type plugins struct {
	nrilog.Logger
	synced, called chan struct{}
}

func (p *plugins) Infof(ctx context.Context, format string, args ...interface{}) {
	p.Logger.Infof(ctx, format, args...)
	if format != "plugin %q connected" {
		return
	}
	select {
	case <-p.synced:
		close(p.called)
	default:
	}
}

func print(what string, value any) {
	text, err := json.Marshal(value)
	must(err)
	fmt.Println(what, string(text))
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

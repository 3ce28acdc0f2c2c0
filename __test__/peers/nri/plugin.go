package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// plugin prints a line for every call, with its messages as JSON, and adds NAME=here to each container.
func plugin(name, index, socket string) {
	made, err := stub.New(&recorder{name}, stub.WithPluginName(name), stub.WithPluginIdx(index), stub.WithSocketPath(socket),
		stub.WithOnClose(func() { os.Exit(0) }))
	if err != nil {
		log.Fatal(err)
	}
	if err := made.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

type recorder struct{ name string }

func record(call string, messages ...proto.Message) {
	parts := []json.RawMessage{}
	for _, message := range messages {
		bytes, err := protojson.Marshal(message)
		if err != nil {
			log.Fatal(err)
		}
		parts = append(parts, bytes)
	}
	line, err := json.Marshal(map[string]any{"call": call, "messages": parts})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}

func (p *recorder) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	record("synchronize")
	return nil, nil
}

func (p *recorder) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	record("runPodSandbox", pod)
	return nil
}

func (p *recorder) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	record("stopPodSandbox", pod)
	return nil
}

func (p *recorder) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	record("removePodSandbox", pod)
	return nil
}

func (p *recorder) UpdatePodSandbox(_ context.Context, pod *api.PodSandbox, overhead, resources *api.LinuxResources) error {
	record("updatePodSandbox", pod, overhead, resources)
	return nil
}

func (p *recorder) PostUpdatePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	record("postUpdatePodSandbox", pod)
	return nil
}

func (p *recorder) CreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	record("createContainer", pod, container)
	adjust := &api.ContainerAdjustment{}
	adjust.AddEnv(p.name, "here")
	return adjust, nil, nil
}

func (p *recorder) PostCreateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	record("postCreateContainer", pod, container)
	return nil
}

func (p *recorder) StartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	record("startContainer", pod, container)
	return nil
}

func (p *recorder) PostStartContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	record("postStartContainer", pod, container)
	return nil
}

func (p *recorder) UpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container, resources *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	record("updateContainer", pod, container, resources)
	return nil, nil
}

func (p *recorder) PostUpdateContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	record("postUpdateContainer", pod, container)
	return nil
}

func (p *recorder) StopContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	record("stopContainer", pod, container)
	return nil, nil
}

func (p *recorder) RemoveContainer(_ context.Context, pod *api.PodSandbox, container *api.Container) error {
	record("removeContainer", pod, container)
	return nil
}

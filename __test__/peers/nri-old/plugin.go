package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// plugin prints a line for every call, and adds NAME=here to each container.
func plugin(name, index, socket string) {
	made, err := stub.New(&recorder{name}, stub.WithPluginName(name), stub.WithPluginIdx(index), stub.WithSocketPath(socket),
		stub.WithOnClose(func() { os.Exit(0) }))
	must(err)
	must(made.Run(context.Background()))
}

type recorder struct{ name string }

func (p *recorder) Synchronize(_ context.Context, pods []*api.PodSandbox, containers []*api.Container) ([]*api.ContainerUpdate, error) {
	fmt.Println("synchronize", len(pods), len(containers))
	return nil, nil
}

func (p *recorder) RunPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	fmt.Println("runPodSandbox", pod.Name)
	return nil
}

func (p *recorder) StopPodSandbox(_ context.Context, pod *api.PodSandbox) error {
	fmt.Println("stopPodSandbox", pod.Name)
	return nil
}

func (p *recorder) RemovePodSandbox(_ context.Context, pod *api.PodSandbox) error {
	fmt.Println("removePodSandbox", pod.Name)
	return nil
}

func (p *recorder) CreateContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	fmt.Println("createContainer", container.Name)
	adjust := &api.ContainerAdjustment{}
	adjust.AddEnv(p.name, "here")
	return adjust, nil, nil
}

func (p *recorder) PostCreateContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) error {
	fmt.Println("postCreateContainer", container.Name)
	return nil
}

func (p *recorder) StartContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) error {
	fmt.Println("startContainer", container.Name)
	return nil
}

func (p *recorder) PostStartContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) error {
	fmt.Println("postStartContainer", container.Name)
	return nil
}

func (p *recorder) UpdateContainer(_ context.Context, _ *api.PodSandbox, container *api.Container, _ *api.LinuxResources) ([]*api.ContainerUpdate, error) {
	fmt.Println("updateContainer", container.Name)
	return nil, nil
}

func (p *recorder) PostUpdateContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) error {
	fmt.Println("postUpdateContainer", container.Name)
	return nil
}

func (p *recorder) StopContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) ([]*api.ContainerUpdate, error) {
	fmt.Println("stopContainer", container.Name)
	return nil, nil
}

func (p *recorder) RemoveContainer(_ context.Context, _ *api.PodSandbox, container *api.Container) error {
	fmt.Println("removeContainer", container.Name)
	return nil
}

package main

import (
	"context"
	"fmt"
	"log"

	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/stub"
)

// adjuster adds NAME=here to each container and does nothing else, to measure what a plugin costs.
type adjuster struct{ name string }

func adjust(name, index, socket string) {
	made, err := stub.New(&adjuster{name}, stub.WithPluginName(name), stub.WithPluginIdx(index), stub.WithSocketPath(socket))
	if err != nil {
		log.Fatal(err)
	}
	if err := made.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func (p *adjuster) Synchronize(context.Context, []*api.PodSandbox, []*api.Container) ([]*api.ContainerUpdate, error) {
	fmt.Println("synchronized")
	return nil, nil
}

func (p *adjuster) CreateContainer(_ context.Context, _ *api.PodSandbox, _ *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	adjust := &api.ContainerAdjustment{}
	adjust.AddEnv(p.name, "here")
	return adjust, nil, nil
}

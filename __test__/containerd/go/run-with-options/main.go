// Runs a container in the background with options of its runtime that ctr has no flags for.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 7 {
		return fmt.Errorf("arguments: ADDRESS NAMESPACE RUNTIME OPTIONS ROOTFS ID ARGS…")
	}
	address, namespace, runtime, rootfs, id := args[0], args[1], args[2], args[4], args[5]
	var opts options.Options
	if err := protojson.Unmarshal([]byte(args[3]), &opts); err != nil {
		return err
	}
	client, err := containerd.New(address)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(context.Background(), namespace)
	container, err := client.NewContainer(ctx, id,
		containerd.WithRuntime(runtime, &opts),
		containerd.WithNewSpec(oci.WithRootFSPath(rootfs), oci.WithProcessArgs(args[6:]...)))
	if err != nil {
		return err
	}
	task, err := container.NewTask(ctx, cio.NullIO)
	if err != nil {
		return err
	}
	return task.Start(ctx)
}

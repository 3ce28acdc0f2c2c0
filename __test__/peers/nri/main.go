// A runtime with containerd's own side of NRI. It waits for a plugin, creates a container through it, and prints the
// plugin's adjustment.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/nri/pkg/adaptation"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: nri-runtime FOLDER")
	}
	folder := os.Args[1]
	started, synced := false, make(chan struct{})
	sync := func(ctx context.Context, cb adaptation.SyncCB) error {
		// The first call is for installed plugins, and there are none.
		if !started {
			started = true
			_, err := cb(ctx, nil, nil)
			return err
		}
		// Longer than the buffer of a connection in each direction.
		labels := map[string]string{"long": strings.Repeat("x", 100_000)}
		pods := []*adaptation.PodSandbox{{Id: "p1", Labels: labels}, {Id: "p2"}}
		if _, err := cb(ctx, pods, []*adaptation.Container{{Id: "c0", PodSandboxId: "p1"}}); err != nil {
			return err
		}
		close(synced)
		return nil
	}
	update := func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		return nil, nil
	}
	runtime, err := adaptation.New("test-runtime", "1.2.3", sync, update,
		adaptation.WithSocketPath(filepath.Join(folder, "nri.sock")),
		adaptation.WithPluginPath(filepath.Join(folder, "plugins")),
		adaptation.WithPluginConfigPath(filepath.Join(folder, "conf.d")),
	)
	if err != nil {
		log.Fatal(err)
	}
	if err := runtime.Start(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	<-synced
	// A plugin is called once it is synchronized. Blocking further synchronization waits for that.
	runtime.BlockPluginSync().Unblock()
	reply, err := runtime.CreateContainer(context.Background(), &adaptation.CreateContainerRequest{
		Pod:       &adaptation.PodSandbox{Id: "p1", Name: "pod", Namespace: "default"},
		Container: &adaptation.Container{Id: "c1", PodSandboxId: "p1", Name: "web", Env: []string{"A=" + strings.Repeat("y", 100_000)}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(reply.GetAdjust().GetEnv()); err != nil {
		log.Fatal(err)
	}
	runtime.Stop()
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/adaptation/builtin"
	"github.com/containerd/nri/pkg/api"
	"github.com/containerd/nri/pkg/runtime-tools/generate"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// question has messages of protobuf: a container, and what plugins reply when it is created; or, with resources, when it
// is updated.
type question struct {
	Container []byte   `json:"container"`
	Resources []byte   `json:"resources"`
	Replies   [][]byte `json:"replies"`
}

// answer has messages as JSON.
type answer struct {
	Error string `json:"error"`
	// The container, or its new resources, that each plugin sees.
	Seen []json.RawMessage `json:"seen"`
	// What a plugin validates.
	Validated json.RawMessage   `json:"validated,omitempty"`
	Updates   []json.RawMessage `json:"updates"`
	Spec      *rspec.Spec       `json:"spec,omitempty"`
}

// merge reads questions, a line each, and prints what NRI's own code makes of the replies of three plugins.
func merge() {
	var asked question
	var told answer
	plugins := []*builtin.BuiltinPlugin{}
	for i := range 3 {
		plugin := &builtin.BuiltinPlugin{Base: "p", Index: fmt.Sprintf("%d0", i+1)}
		plugin.Handlers.CreateContainer = func(_ context.Context, request *api.CreateContainerRequest) (*api.CreateContainerResponse, error) {
			told.Seen = append(told.Seen, onWire(request.Container))
			reply := &api.CreateContainerResponse{}
			decode(asked.Replies[i], reply)
			return reply, nil
		}
		plugin.Handlers.UpdateContainer = func(_ context.Context, request *api.UpdateContainerRequest) (*api.UpdateContainerResponse, error) {
			told.Seen = append(told.Seen, onWire(request.LinuxResources))
			reply := &api.UpdateContainerResponse{}
			decode(asked.Replies[i], reply)
			return reply, nil
		}
		plugins = append(plugins, plugin)
	}
	plugins[2].Handlers.ValidateContainerAdjustment = func(_ context.Context, request *api.ValidateContainerAdjustmentRequest) error {
		told.Validated = onWire(request)
		return nil
	}
	sync := func(ctx context.Context, cb adaptation.SyncCB) error {
		_, err := cb(ctx, nil, nil)
		return err
	}
	update := func(context.Context, []*adaptation.ContainerUpdate) ([]*adaptation.ContainerUpdate, error) {
		return nil, nil
	}
	runtime, err := adaptation.New("test-runtime", "1.0.0", sync, update, adaptation.WithBuiltinPlugins(plugins...),
		adaptation.WithDisabledExternalConnections(), adaptation.WithPluginPath("/nonexistent"))
	if err != nil {
		log.Fatal(err)
	}
	if err := runtime.Start(); err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		asked, told = question{}, answer{}
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		container := &api.Container{}
		decode(asked.Container, container)
		if asked.Resources != nil {
			updated(runtime, container, asked.Resources, &told)
		} else {
			created(runtime, container, &told)
		}
		if err := out.Encode(told); err != nil {
			log.Fatal(err)
		}
	}
}

func created(runtime *adaptation.Adaptation, container *api.Container, told *answer) {
	spec := specOf(proto.Clone(container).(*api.Container))
	request := &api.CreateContainerRequest{Pod: &api.PodSandbox{Id: "pod"}, Container: container}
	reply, err := runtime.CreateContainer(context.Background(), request)
	if err != nil {
		told.Error = err.Error()
		return
	}
	for _, update := range reply.Update {
		told.Updates = append(told.Updates, onWire(update))
	}
	if err := generate.SpecGenerator(&generator{spec: spec}).Adjust(reply.Adjust); err != nil {
		log.Fatal(err)
	}
	told.Spec = spec
}

func updated(runtime *adaptation.Adaptation, container *api.Container, resources []byte, told *answer) {
	request := &api.UpdateContainerRequest{Container: container, LinuxResources: &api.LinuxResources{}}
	decode(resources, request.LinuxResources)
	reply, err := runtime.UpdateContainer(context.Background(), request)
	if err != nil {
		told.Error = err.Error()
		return
	}
	for _, update := range reply.Update {
		// There is none of the container itself if no plugin has updated it.
		if update != nil {
			told.Updates = append(told.Updates, onWire(update))
		}
	}
}

func decode(bytes []byte, into proto.Message) {
	if err := proto.Unmarshal(bytes, into); err != nil {
		log.Fatal(err)
	}
}

// onWire is a message as a plugin in another process gets it.
func onWire(message proto.Message) json.RawMessage {
	bytes, err := proto.Marshal(message)
	if err != nil {
		log.Fatal(err)
	}
	copied := message.ProtoReflect().New().Interface()
	decode(bytes, copied)
	text, err := protojson.Marshal(copied)
	if err != nil {
		log.Fatal(err)
	}
	return text
}

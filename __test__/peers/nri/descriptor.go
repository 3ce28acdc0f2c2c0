package main

import (
	"log"
	"os"

	"github.com/containerd/nri/pkg/api"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
)

// descriptor writes the FileDescriptorProto of the module's protocol.
func descriptor() {
	bytes, err := proto.Marshal(protodesc.ToFileDescriptorProto(api.File_pkg_api_api_proto))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := os.Stdout.Write(bytes); err != nil {
		log.Fatal(err)
	}
}

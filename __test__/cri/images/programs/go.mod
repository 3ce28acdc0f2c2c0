module containerd-shim-protos/images

go 1.26

package main

import (
	"slices"
	"strings"

	"github.com/containerd/nri/pkg/api"
	rspec "github.com/opencontainers/runtime-spec/specs-go"
)

// specOf is the OCI specification of a container, with all parts that adjustments may change.
func specOf(container *api.Container) *rspec.Spec {
	linux := container.GetLinux()
	resources := linux.GetResources().ToOCI()
	if resources == nil {
		resources = &rspec.LinuxResources{}
	}
	if resources.Memory == nil {
		resources.Memory = &rspec.LinuxMemory{}
	}
	if resources.CPU == nil {
		resources.CPU = &rspec.LinuxCPU{}
	}
	if resources.Unified == nil {
		resources.Unified = map[string]string{}
	}
	spec := &rspec.Spec{
		Process:     &rspec.Process{Args: container.Args, Env: container.Env},
		Annotations: map[string]string{},
		Hooks:       &rspec.Hooks{},
		Linux: &rspec.Linux{
			Resources:   resources,
			Sysctl:      map[string]string{},
			NetDevices:  map[string]rspec.LinuxNetDevice{},
			CgroupsPath: linux.GetCgroupsPath(),
		},
	}
	for key, value := range container.Annotations {
		spec.Annotations[key] = value
	}
	for _, mount := range container.Mounts {
		spec.Mounts = append(spec.Mounts, mount.ToOCI(nil))
	}
	for _, limit := range container.Rlimits {
		spec.Process.Rlimits = append(spec.Process.Rlimits, rspec.POSIXRlimit{Type: limit.Type, Hard: limit.Hard, Soft: limit.Soft})
	}
	for _, hook := range container.GetHooks().GetPrestart() {
		spec.Hooks.Prestart = append(spec.Hooks.Prestart, hook.ToOCI()) //nolint:staticcheck // plugins may still add them
	}
	for _, device := range linux.GetDevices() {
		spec.Linux.Devices = append(spec.Linux.Devices, device.ToOCI())
	}
	for _, namespace := range linux.GetNamespaces() {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, rspec.LinuxNamespace{Type: rspec.LinuxNamespaceType(namespace.Type), Path: namespace.Path})
	}
	for key, value := range linux.GetSysctl() {
		spec.Linux.Sysctl[key] = value
	}
	for name, device := range linux.GetNetDevices() {
		spec.Linux.NetDevices[name] = rspec.LinuxNetDevice{Name: device.Name}
	}
	return spec
}

// generator changes a specification of specOf as NRI asks for.
type generator struct{ spec *rspec.Spec }

func (g *generator) Spec() *rspec.Spec                          { return g.spec }
func (g *generator) AddAnnotation(key, value string)            { g.spec.Annotations[key] = value }
func (g *generator) RemoveAnnotation(key string)                { delete(g.spec.Annotations, key) }
func (g *generator) AddLinuxSysctl(key, value string)           { g.spec.Linux.Sysctl[key] = value }
func (g *generator) RemoveLinuxSysctl(key string)               { delete(g.spec.Linux.Sysctl, key) }
func (g *generator) AddLinuxResourcesUnified(key, value string) { g.resources().Unified[key] = value }
func (g *generator) SetLinuxCgroupsPath(path string)            { g.spec.Linux.CgroupsPath = path }
func (g *generator) SetLinuxResourcesCPUCpus(cpus string)       { g.resources().CPU.Cpus = cpus }
func (g *generator) SetLinuxResourcesCPUMems(mems string)       { g.resources().CPU.Mems = mems }
func (g *generator) SetLinuxResourcesCPUPeriod(value uint64)    { g.resources().CPU.Period = &value }
func (g *generator) SetLinuxResourcesCPUQuota(value int64)      { g.resources().CPU.Quota = &value }
func (g *generator) SetLinuxResourcesCPUShares(value uint64)    { g.resources().CPU.Shares = &value }
func (g *generator) SetLinuxResourcesMemoryLimit(value int64)   { g.resources().Memory.Limit = &value }
func (g *generator) SetLinuxResourcesMemorySwap(value int64)    { g.resources().Memory.Swap = &value }
func (g *generator) SetProcessArgs(args []string)               { g.spec.Process.Args = args }
func (g *generator) SetProcessOOMScoreAdj(value int)            { g.spec.Process.OOMScoreAdj = &value }
func (g *generator) ClearMounts()                               { g.spec.Mounts = nil }
func (g *generator) ClearProcessEnv()                           { g.spec.Process.Env = nil }
func (g *generator) Mounts() []rspec.Mount                      { return g.spec.Mounts }
func (g *generator) AddMount(mount rspec.Mount)                 { g.spec.Mounts = append(g.spec.Mounts, mount) }
func (g *generator) resources() *rspec.LinuxResources           { return g.spec.Linux.Resources }

func (g *generator) SetLinuxResourcesCPURealtimePeriod(value uint64) {
	g.resources().CPU.RealtimePeriod = &value
}

func (g *generator) SetLinuxResourcesCPURealtimeRuntime(value int64) {
	g.resources().CPU.RealtimeRuntime = &value
}

func (g *generator) SetLinuxRootPropagation(propagation string) error {
	g.spec.Linux.RootfsPropagation = propagation
	return nil
}

func (g *generator) AddProcessEnv(name, value string) {
	prefix := name + "="
	for i, line := range g.spec.Process.Env {
		if strings.HasPrefix(line, prefix) {
			g.spec.Process.Env[i] = prefix + value
			return
		}
	}
	g.spec.Process.Env = append(g.spec.Process.Env, prefix+value)
}

func (g *generator) RemoveMount(destination string) {
	g.spec.Mounts = slices.DeleteFunc(g.spec.Mounts, func(mount rspec.Mount) bool { return mount.Destination == destination })
}

func (g *generator) AddDevice(device rspec.LinuxDevice) {
	g.RemoveDevice(device.Path)
	g.spec.Linux.Devices = append(g.spec.Linux.Devices, device)
}

func (g *generator) RemoveDevice(path string) {
	g.spec.Linux.Devices = slices.DeleteFunc(g.spec.Linux.Devices, func(device rspec.LinuxDevice) bool { return device.Path == path })
}

func (g *generator) AddOrReplaceLinuxNamespace(name string, path string) error {
	kind := rspec.LinuxNamespaceType(name)
	for i, namespace := range g.spec.Linux.Namespaces {
		if namespace.Type == kind {
			g.spec.Linux.Namespaces[i].Path = path
			return nil
		}
	}
	g.spec.Linux.Namespaces = append(g.spec.Linux.Namespaces, rspec.LinuxNamespace{Type: kind, Path: path})
	return nil
}

func (g *generator) RemoveLinuxNamespace(name string) error {
	g.spec.Linux.Namespaces = slices.DeleteFunc(g.spec.Linux.Namespaces, func(namespace rspec.LinuxNamespace) bool {
		return namespace.Type == rspec.LinuxNamespaceType(name)
	})
	return nil
}

func (g *generator) AddPreStartHook(hook rspec.Hook) {
	g.spec.Hooks.Prestart = append(g.spec.Hooks.Prestart, hook) //nolint:staticcheck // plugins may still add them
}

func (g *generator) AddPostStartHook(hook rspec.Hook) {
	g.spec.Hooks.Poststart = append(g.spec.Hooks.Poststart, hook)
}

func (g *generator) AddPostStopHook(hook rspec.Hook) {
	g.spec.Hooks.Poststop = append(g.spec.Hooks.Poststop, hook)
}

func (g *generator) AddLinuxResourcesDevice(allow bool, kind string, major, minor *int64, access string) {
	rule := rspec.LinuxDeviceCgroup{Allow: allow, Type: kind, Major: major, Minor: minor, Access: access}
	g.resources().Devices = append(g.resources().Devices, rule)
}

func (g *generator) AddLinuxResourcesHugepageLimit(pageSize string, limit uint64) {
	for i, known := range g.resources().HugepageLimits {
		if known.Pagesize == pageSize {
			g.resources().HugepageLimits[i].Limit = limit
			return
		}
	}
	g.resources().HugepageLimits = append(g.resources().HugepageLimits, rspec.LinuxHugepageLimit{Pagesize: pageSize, Limit: limit})
}

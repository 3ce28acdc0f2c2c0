import { toJson } from "@bufbuild/protobuf";
import { Adjustment, ContainerAdjustmentSchema } from "containerd-shim-protos/nri";
import { describe, expect, it } from "vitest";

const FUSE = { path: "/dev/fuse", type: "c", major: 10, minor: 229 };

describe("an adjustment", () => {
  it("has the last of two values of an entry, and a removal before it", () => {
    const hugepages = (limit: number) => ({ hugepages: { "2MB": limit } });
    const adjustment = new Adjustment({ env: { A: null, B: "c" }, rdt: null })
      .env("A", "1")
      .env("A", "2")
      .mount({ destination: "/a", source: "/1" })
      .mount({ destination: "/a", source: "/2" })
      .rlimit("RLIMIT_CORE", { soft: 1, hard: 1 })
      .rlimit("RLIMIT_CORE", { soft: 2, hard: 2 })
      .cdiDevice("vendor.com/gpu=0")
      .cdiDevice("vendor.com/gpu=0")
      .device({ ...FUSE, major: 1 })
      .device({ ...FUSE, major: 2 })
      .removeNamespace("ipc")
      .namespace("ipc", "/1")
      .namespace("ipc", "/2")
      .resources(hugepages(1))
      .resources(hugepages(2))
      .rdt({ closId: "1" })
      .rdt({ closId: "2" });
    expect(toJson(ContainerAdjustmentSchema, adjustment.message)).toMatchObject({
      env: [{ key: "-A" }, { key: "B", value: "c" }, { key: "A", value: "2" }],
      mounts: [{ destination: "/a", source: "/2" }],
      rlimits: [{ type: "RLIMIT_CORE", soft: "2", hard: "2" }],
      CDIDevices: [{ name: "vendor.com/gpu=0" }],
      linux: {
        devices: [{ path: FUSE.path, major: "2" }],
        namespaces: [{ type: "ipc", path: "/2" }],
        resources: { hugepageLimits: [{ pageSize: "2MB", limit: "2" }] },
        rdt: { closId: { value: "2" }, remove: true },
      },
    });
  });

  it("removes an entry that it has set before", () => {
    const adjustment = new Adjustment({ env: { A: "b", OLD: null } })
      .annotation("a", "1")
      .mount({ destination: "/data", source: "/srv" })
      .device(FUSE)
      .namespace("network", "/run/netns/a")
      .sysctl("a", "1")
      .netDevice("eth1", "net1")
      .rdt({ closId: "a" })
      .removeEnv("A")
      .removeEnv("A")
      .removeAnnotation("a")
      .removeMount("/data")
      .removeDevice(FUSE.path)
      .removeNamespace("network")
      .removeSysctl("a")
      .removeNetDevice("eth1")
      .removeRdt();
    expect(toJson(ContainerAdjustmentSchema, adjustment.message)).toMatchObject({
      env: [{ key: "-OLD" }, { key: "-A" }],
      annotations: { "-a": "" },
      mounts: [{ destination: "-/data" }],
      linux: {
        devices: [{ path: `-${FUSE.path}` }],
        namespaces: [{ type: "-network" }],
        sysctl: { "-a": "" },
        netDevices: { "-eth1": {} },
        rdt: { remove: true },
      },
    });
    const { annotations, linux } = adjustment.message;
    const records = [annotations, linux!.sysctl, linux!.netDevices].flatMap((record) => Object.keys(record));
    expect(records.filter((key) => !key.startsWith("-"))).toEqual([]);
    expect(linux!.rdt!.closId).toBeUndefined();
  });
});

import { type DescMessage, ScalarType } from "@bufbuild/protobuf";
import { conformanceRegistry } from "../../__test__/conformance/messages.js";
import { ForwardRequestSchema } from "../../src/protos/generated/containerd/services/events/ttrpc/v1/events_pb.js";
import {
  CreateTaskRequestSchema,
  StateResponseSchema,
} from "../../src/protos/generated/containerd/task/v3/shim_pb.js";
import { MetricsSchema } from "../../src/protos/generated/io/containerd/cgroups/v2/metrics_pb.js";

/** A message to measure with. */
export interface Sample {
  readonly name: string;
  readonly desc: DescMessage;
  /** Makes the plain object of one message; all have the same length. */
  make(index: number): Record<string, unknown>;
}

const MIB = 1 << 20;

/** An id like containerd's: 64 hexadecimal digits. */
function id(index: number): string {
  return String(index).padStart(2, "0") + "3f7c1e0b9d5a48266c".repeat(4).slice(0, 62);
}

const stamp = (index: number) => ({ seconds: 1_760_000_000n + BigInt(index), nanos: 123_456_700 + index });

/** The largest message of protobuf's own tests: 151 fields. */
const ALL_TYPES = "protobuf_test_messages.proto3.TestAllTypesProto3";

/**
 * The value of one of that message's fields. Each field that is not a message is set; a list or map has three elements.
 */
function valueOf(field: DescMessage["fields"][number], index: number): unknown {
  const one = (place: number): unknown => {
    if (field.message !== undefined)
      return field.message.name === "NestedMessage" ? { a: index + 1 } : undefined;
    if (field.enum !== undefined) return field.enum.values.at(-1)?.number;
    switch (field.scalar) {
      case ScalarType.STRING:
        return `text number ${place} of ${10 + (index % 90)}`;
      case ScalarType.BYTES:
        return new Uint8Array(20).fill(index);
      case ScalarType.BOOL:
        return true;
      case ScalarType.DOUBLE:
      case ScalarType.FLOAT:
        return 1.5 + index;
      case ScalarType.INT32:
      case ScalarType.UINT32:
      case ScalarType.SINT32:
      case ScalarType.FIXED32:
      case ScalarType.SFIXED32:
        return 1000 + index;
      default:
        return 1_234_567_891n + BigInt(index);
    }
  };
  if (one(0) === undefined) return undefined;
  if (field.fieldKind === "list") return [one(0), one(1), one(2)];
  if (field.fieldKind !== "map") return one(0);
  return Object.fromEntries(
    (field.mapKey === ScalarType.BOOL ? ["true", "false"] : ["1", "2", "3"]).map((key, place) => [
      key,
      one(place),
    ]),
  );
}

function allTypes(): Sample[] {
  const desc = conformanceRegistry().getMessage(ALL_TYPES)!;
  return [
    {
      name: "TestAllTypesProto3, sparse",
      desc,
      make: (index) => ({
        optionalInt32: 1000 + index,
        optionalString: "some text",
        optionalNestedMessage: { a: index + 1 },
        repeatedInt32: [1, 2, 300],
        oneofField: { case: "oneofUint32", value: 4 },
      }),
    },
    {
      name: "TestAllTypesProto3, full",
      desc,
      make: (index) =>
        Object.fromEntries(
          desc.fields
            .filter(({ oneof }) => oneof === undefined)
            .map((field) => [field.localName, valueOf(field, index)] as const)
            .filter(([, value]) => value !== undefined),
        ),
    },
  ];
}

/** The messages to measure with. */
export function samples(): Sample[] {
  return [
    {
      name: "ForwardRequest",
      desc: ForwardRequestSchema,
      make: (index) => ({
        envelope: {
          timestamp: stamp(index),
          namespace: "k8s.io",
          topic: "/tasks/start",
          event: {
            typeUrl: "containerd.events.TaskStart",
            value: new Uint8Array(58).fill(index),
          },
        },
      }),
    },
    {
      name: "CreateTaskRequest",
      desc: CreateTaskRequestSchema,
      make: (index) => ({
        id: id(index),
        bundle: `/run/containerd/io.containerd.runtime.v2.task/k8s.io/${id(index)}`,
        rootfs: [
          {
            type: "overlay",
            source: "overlay",
            options: [
              "index=off",
              `workdir=/var/lib/containerd/sn/${index % 10}/work`,
              "lowerdir=/var/lib/a",
            ],
          },
        ],
        stdin: "",
        stdout: "/run/containerd/fifo/42/stdout",
        stderr: "/run/containerd/fifo/42/stderr",
        options: { typeUrl: "containerd.runc.v1.Options", value: new Uint8Array(12).fill(index) },
      }),
    },
    {
      name: "StateResponse",
      desc: StateResponseSchema,
      make: (index) => ({
        id: id(index),
        bundle: "/run/containerd/io.containerd.runtime.v2.task/k8s.io/web",
        pid: 4000 + index,
        status: 2,
        stdout: "/run/containerd/fifo/42/stdout",
        stderr: "/run/containerd/fifo/42/stderr",
        exitedAt: stamp(index),
      }),
    },
    {
      name: "cgroup v2 Metrics",
      desc: MetricsSchema,
      make: (index) => {
        const base = BigInt(index);
        const memory = MetricsSchema.field.memory.message?.fields ?? [];
        return {
          pids: { current: 12n + base, limit: 2n ** 64n - 1n },
          cpu: {
            usageUsec: 912_345_678n + base,
            userUsec: 512_345_678n,
            systemUsec: 400_000_000n,
            nrPeriods: 100_000n,
            nrThrottled: 1200n,
            throttledUsec: 99_000_000n,
          },
          memory: Object.fromEntries(
            memory
              .filter(({ scalar }) => scalar !== undefined)
              .map(({ localName }, place) => [localName, base + BigInt(place) * 1_234_567_891n]),
          ),
          rdma: { current: [{ device: "mlx5_0", hcaHandles: 2, hcaObjects: 2000 }] },
          io: {
            usage: Array.from({ length: 3 }, (_, minor) => ({
              major: 8n,
              minor: BigInt(minor),
              rbytes: 123_456_789_012n + base,
              wbytes: 98_765_432_101n,
              rios: 123_456n,
              wios: 98_765n,
            })),
          },
          hugetlb: [{ current: 0n, max: 2n ** 63n, pagesize: "2MB" }],
        };
      },
    },
    {
      name: "1 MiB of bytes",
      desc: ForwardRequestSchema,
      make: (index) => ({
        envelope: {
          topic: "/tasks/start",
          event: { typeUrl: "containerd.events.TaskStart", value: new Uint8Array(MIB).fill(index) },
        },
      }),
    },
    {
      name: "1 MiB of texts",
      desc: CreateTaskRequestSchema,
      make: (index) => ({
        id: id(index),
        rootfs: Array.from({ length: 8000 }, (_, place) => ({
          type: "bind",
          source: `/var/lib/containerd/volumes/${String(place).padStart(5, "0")}`,
          target: `/mnt/volumes/${String(place).padStart(5, "0")}/data-${index % 10}`,
          options: ["rbind", "ro", "nosuid,nodev,noexec,relatime,size=65536k"],
        })),
      }),
    },
    ...allTypes(),
  ];
}

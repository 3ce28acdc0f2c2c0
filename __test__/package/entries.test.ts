import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type AnyDesc, create, isMessage, type Message, toBinary } from "@bufbuild/protobuf";
import { AnySchema, EmptySchema, TimestampSchema } from "@bufbuild/protobuf/wkt";
import { packAny, unpackAny } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { registry } from "containerd-shim-protos/registry";
import { describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const GENERATED = join(ROOT, "src/protos/generated");

/** The entries that export each generated file. The first is where the Rust crate has it. */
const HOMES: Record<string, readonly string[]> = {
  "containerd/events/container": ["events"],
  "containerd/events/content": ["events"],
  "containerd/events/namespace": ["events"],
  "containerd/events/sandbox": ["events"],
  "containerd/events/snapshot": ["events"],
  "containerd/events/task": ["events"],
  "containerd/runc/v1/oci": ["runc"],
  "containerd/runhcs/stats/v1/stats": ["windows"],
  "containerd/runtime/bootstrap/v1/bootstrap": ["bootstrap"],
  "containerd/runtime/sandbox/v1/sandbox": ["sandbox"],
  "containerd/services/events/ttrpc/v1/events": ["events"],
  "containerd/services/images/v1/image": ["events"],
  "containerd/services/streaming/v1/streaming": ["streaming"],
  "containerd/task/v2/shim": ["task/v2"],
  "containerd/task/v3/shim": ["task/v3"],
  "containerd/types/descriptor": ["types"],
  "containerd/types/event": ["types", "events"],
  "containerd/types/fieldpath": ["types"],
  "containerd/types/introspection": ["types"],
  "containerd/types/metrics": ["types", "sandbox"],
  "containerd/types/mount": ["types"],
  "containerd/types/platform": ["types", "sandbox"],
  "containerd/types/sandbox": ["types"],
  "containerd/v1/types/task": ["types"],
  "io/containerd/cgroups/v1/metrics": ["cgroups/v1"],
  "io/containerd/cgroups/v2/metrics": ["cgroups/v2"],
  "nri/pkg/api/v1alpha1/nri": ["nri"],
  "runtimeoptions/v1/runtimeoptions": ["runtimeoptions"],
};

/** What an entry exports from files of other entries. */
const GUESTS: Record<string, readonly string[]> = {
  events: ["containerd.types.Mount"],
  sandbox: ["containerd.types.Mount"],
  "task/v2": ["containerd.types.Mount", "containerd.v1.types.ProcessInfo", "containerd.v1.types.Status"],
  "task/v3": ["containerd.types.Mount", "containerd.v1.types.ProcessInfo", "containerd.v1.types.Status"],
  windows: ["io.containerd.cgroups.v1.Metrics"],
};

const entries = [...new Set(Object.values(HOMES).flat())].toSorted();

const files = readdirSync(GENERATED, { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith("_pb.ts"))
  .map((name) => name.slice(0, -"_pb.ts".length))
  .toSorted();

type Module = Record<string, unknown>;

const load = (specifier: string) => import(/* @vite-ignore */ specifier) as Promise<Module>;
const loadEntry = (entry: string) => load(`containerd-shim-protos/${entry}`);
const loadGenerated = (file: string) => load(join(GENERATED, `${file}_pb.ts`));

/** The path of an entry's code, in src and in dist. */
const targetOf = (entry: string) =>
  entry === "events" || entry === "nri" || entry === "otel" ? `${entry}/index` : `protos/${entry}`;

/** The source of an entry, and of the messages that it exports as a whole, which shows the types that it exports. */
function sourceOf(entry: string): string {
  const sources = [targetOf(entry), ...(entry === "events" ? ["protos/events"] : [])];
  return sources.map((file) => readFileSync(join(ROOT, `src/${file}.ts`), "utf8")).join("\n");
}

function isDescriptor(value: unknown): value is AnyDesc {
  return typeof value === "object" && value !== null && "kind" in value;
}

/**
 * Tells descriptors and enums apart. The source is not what the entries run, so its objects are others with the same names.
 */
function identityOf(value: unknown): string {
  if (isDescriptor(value) && "typeName" in value) return `${value.kind} ${value.typeName}`;
  return JSON.stringify(value) ?? "";
}

/** What a generated file declares, without the descriptor of the file itself. */
async function declared(file: string): Promise<[name: string, value: unknown][]> {
  return Object.entries(await loadGenerated(file)).filter(([name]) => !name.startsWith("file_"));
}

describe("the entries", () => {
  it("are known for each generated file", () => {
    expect(files).toEqual(Object.keys(HOMES));
  });

  it("are in package.json, with their types", () => {
    const { exports } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
      exports: Record<string, { types: string; default: string }>;
    };
    for (const entry of [...entries, "registry", "otel"]) {
      const target = targetOf(entry);
      expect(exports[`./${entry}`]).toEqual({
        types: `./dist/${target}.d.ts`,
        default: `./dist/${target}.js`,
      });
    }
  });

  it.each([...entries, "registry", "otel"])("say what /%s is for, with an example", (entry) => {
    const [, comment] = /^\/\*\*\n([\s\S]*?)\n \*\//.exec(sourceOf(entry)) ?? [];
    expect(comment).toMatch(/```ts\n[\s\S]+```/);
    expect(comment).toContain("@module");
    expect(comment).toContain(`"containerd-shim-protos/${entry}"`);
  });

  it.each(files.flatMap((file) => HOMES[file]?.map((entry) => [file, entry] as const) ?? []))(
    "export everything that %s declares from /%s",
    async (file, entry) => {
      const module = await loadEntry(entry);
      const expected = await declared(file);
      expect(expected).not.toEqual([]);
      for (const [name, value] of expected) {
        expect({ [name]: identityOf(module[name]) }).toEqual({ [name]: identityOf(value) });
      }
      const source = sourceOf(entry);
      const types = readFileSync(join(GENERATED, `${file}_pb.ts`), "utf8").matchAll(/^export type (\w+)/gm);
      if (source.includes(`export * from "../protos/generated/${file}_pb.js"`)) return;
      for (const [, name] of types) expect(source).toMatch(new RegExp(`\\btype ${name}\\b`));
    },
  );

  it.each(entries)("export nothing from /%s that belongs elsewhere", async (entry) => {
    const own = new Set<unknown>(
      (await Promise.all(files.filter((file) => HOMES[file]?.includes(entry)).map(declared)))
        .flat()
        .map(([, value]) => identityOf(value)),
    );
    const others = Object.values(await loadEntry(entry))
      .filter((value) => isDescriptor(value) && value.kind !== "file" && !own.has(identityOf(value)))
      .map((value) => (isDescriptor(value) && "typeName" in value ? value.typeName : ""));
    expect(others.toSorted()).toEqual(GUESTS[entry] ?? []);
  });
});

describe("the registry", () => {
  it("has everything that the generated files declare, but for NRI's, which no Any holds", async () => {
    const others = files.filter((file) => !file.startsWith("nri/"));
    const descriptors = (await Promise.all(others.map(declared)))
      .flat()
      .map(([, value]) => value)
      .filter(isDescriptor);
    expect(descriptors.length).toBeGreaterThan(160);
    for (const descriptor of descriptors) {
      if (!("typeName" in descriptor)) throw new Error(`${descriptor.kind} has no name`);
      expect(identityOf(registry.get(descriptor.typeName))).toBe(identityOf(descriptor));
    }
    const wellKnown = [AnySchema, EmptySchema, TimestampSchema];
    const expected = [...descriptors, ...wellKnown].map((one) => ("typeName" in one ? one.typeName : ""));
    expect([...registry].map(({ typeName }) => typeName).toSorted()).toEqual(expected.toSorted());
  });

  it("has the same descriptors as the entries", async () => {
    const others = entries.filter((entry) => entry !== "nri");
    const exported = (await Promise.all(others.map(loadEntry))).flatMap((module) => Object.values(module));
    const descriptors = exported.filter(isDescriptor);
    expect(descriptors.length).toBeGreaterThan(160);
    for (const descriptor of descriptors) {
      if ("typeName" in descriptor) expect(registry.get(descriptor.typeName)).toBe(descriptor);
    }
  });

  it.each(["", "/", "type.googleapis.com/", "https://example.org/a/b/"])(
    "unpacks any message whose name follows %j",
    (prefix) => {
      for (const schema of registry) {
        if (schema.kind !== "message") continue;
        const any = create(AnySchema, {
          typeUrl: prefix + schema.typeName,
          value: toBinary(schema, create(schema)),
        });
        const message: Message | undefined = unpackAny(any, registry);
        expect(message?.$typeName).toBe(schema.typeName);
      }
    },
  );

  it("unpacks the message with its fields", () => {
    const message = unpackAny(packAny(TaskExitSchema, { containerId: "web", exitStatus: 137 }), registry);
    expect(isMessage(message, TaskExitSchema) && message.exitStatus).toBe(137);
  });

  it.each([
    "",
    "/",
    "TaskExit",
    "containerd.events.taskexit",
    "containerd.events.TaskExit/",
    "x.containerd.events.TaskExit",
    // A service and an enum, which an Any cannot hold.
    "containerd.task.v3.Task",
    "containerd.v1.types.Status",
  ])("has no message for the type %j", (typeUrl) => {
    expect(unpackAny(create(AnySchema, { typeUrl }), registry)).toBeUndefined();
  });
});

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Code, packAny } from "containerd-shim-protos";
import { BootstrapParamsSchema } from "containerd-shim-protos/bootstrap";
import { CheckpointOptionsSchema, OptionsSchema } from "containerd-shim-protos/runc";
import { describe, expect, test } from "vitest";
import { startOptionsOf } from "../../examples/shim-runc/runtime-options.js";
import { FakeRunc } from "./fake-runc.js";

/** A field that the messages here do not have. */
const field = (number: number, text: string) =>
  new BinaryWriter().tag(number, WireType.LengthDelimited).string(text).finish();

const EXIT = toBinary(CheckpointOptionsSchema, create(CheckpointOptionsSchema, { exit: true }));
const checkpointOptions = (value: Uint8Array) => ({ typeUrl: CheckpointOptionsSchema.typeName, value });

/** A runc whose commands note where they find criu. */
async function start(): Promise<FakeRunc> {
  const runc = await FakeRunc.start("command -v criu >>$F/criu");
  mkdirSync(join(runc.folder, "bin"));
  for (const name of ["criu", "other"]) {
    writeFileSync(join(runc.folder, "bin", name), "#!/bin/sh\n", { mode: 0o755 });
  }
  return runc;
}

/** The options of a container, with the path of its criu. */
function optionsWith(runc: FakeRunc, criu: string) {
  const options = create(OptionsSchema, { binaryName: join(runc.folder, "runc"), root: runc.folder });
  const value = Buffer.concat([toBinary(OptionsSchema, options), field(8, join(runc.folder, "bin", criu))]);
  return { typeUrl: OptionsSchema.typeName, value };
}

describe("the options of shim-runc", () => {
  test("are found among what else containerd may pass to start, which is ignored", () => {
    const other = { typeUrl: "containerd.io/cri.v1.PodSandboxConfig", value: Uint8Array.of(8, 1) };
    const own = packAny(OptionsSchema, { shimCgroup: "/shims" });
    const startedWith = (...values: (MessageInitShape<typeof AnySchema> | undefined)[]) => {
      const params = create(BootstrapParamsSchema, { extensions: values.map((value) => ({ value })) });
      return startOptionsOf({ options: params.extensions[0]?.value, params }).shimCgroup;
    };
    expect(startedWith(other, undefined, own)).toBe("/shims");
    expect(startedWith(own, other)).toBe("/shims");
    expect(startedWith(other)).toBe("");
    expect(startedWith()).toBe("");
    expect(startOptionsOf({ options: create(AnySchema, own), params: undefined }).shimCgroup).toBe("/shims");
    expect(startOptionsOf({ options: create(AnySchema, other), params: undefined }).shimCgroup).toBe("");
  });

  test.each(["containerd.runc.v1.CheckpointOption", "containerd.runc.v1.Options", ""])(
    "of a checkpoint are refused if their type is %j",
    async (typeUrl) => {
      await using runc = await start();
      const { id, task } = runc;
      await runc.create({ options: optionsWith(runc, "criu") });
      await task.start({ id });
      const call = task.checkpoint({ id, path: runc.folder, options: { typeUrl, value: EXIT } });
      await expect(call).rejects.toMatchObject({
        code: Code.InvalidArgument,
        rawMessage: expect.stringContaining(`type ${JSON.stringify(typeUrl)} are not known`),
      });
      expect(runc.calls("checkpoint")).toEqual([]);
    },
  );

  test("of a checkpoint name the one that it builds on, and those of a Create the one of its image", async () => {
    await using runc = await start();
    const { id, task } = runc;
    await runc.create({
      options: optionsWith(runc, "criu"),
      checkpoint: "/image",
      parentCheckpoint: "/image-before",
    });
    await task.start({ id });
    expect(runc.calls("restore")[0]?.join(" ")).toContain("--image-path /image ");
    expect(runc.calls("restore")[0]?.join(" ")).toContain("--parent-path /image-before ");
    const options = checkpointOptions(Buffer.concat([EXIT, field(10, "/before")]));
    await task.checkpoint({ id, path: "/after", options });
    const [call = []] = runc.calls("checkpoint");
    expect(call.join(" ")).toContain("--parent-path /before ");
    expect(call).not.toContain("--leave-running");
  });

  test("name the criu that runc finds", async () => {
    await using runc = await start();
    const { id, task } = runc;
    await runc.create({ options: optionsWith(runc, "criu"), checkpoint: "/image" });
    await task.start({ id });
    await task.checkpoint({ id, path: "/after" });
    const criu = join(runc.folder, "bin", "criu");
    expect(readFileSync(join(runc.folder, "criu"), "utf8")).toBe(`${criu}\n${criu}\n`);
  });

  test("that name a criu which runc would not find are refused", async () => {
    await using runc = await start();
    const { id, task } = runc;
    await runc.create({ options: optionsWith(runc, "other"), checkpoint: "/image" });
    await expect(task.start({ id })).rejects.toMatchObject({
      code: Code.InvalidArgument,
      rawMessage: expect.stringMatching(/^CriuPath must name a program called criu, not .*\/other/),
    });
    expect(runc.calls("restore")).toEqual([]);
  });

  test.each(["", "foo", "containerd.runc.v1.CheckpointOptions"])(
    "that say nothing are taken, whatever their type is, such as %j",
    async (typeUrl) => {
      await using runc = await FakeRunc.start();
      // It uses the runc on the PATH, which refuses the bundle.
      const call = runc.create({ options: { typeUrl, value: new Uint8Array() } });
      await expect(call).rejects.toThrow(/OCI runtime create failed/);
    },
  );

  test("of an Update may be null, and large integers stay as they are", async () => {
    await using runc = await FakeRunc.start("[ $C != update ] || cat >$F/resources");
    const { id, task } = runc;
    await runc.create();
    const given =
      '{"cpu":null,"memory":{"limit":9223372036854771712,"swap":null},"devices":[{"allow":true,"major":null}]}';
    const typeUrl = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";
    await task.update({ id, resources: { typeUrl, value: Buffer.from(given) } });
    expect(readFileSync(join(runc.folder, "resources"), "utf8")).toBe(
      '{"memory":{"limit":9223372036854771712},"devices":[{"allow":true}]}',
    );
    // What is wrong with others is for runc to say.
    await task.update({ id, resources: { typeUrl, value: Buffer.from("{") } });
    expect(readFileSync(join(runc.folder, "resources"), "utf8")).toBe("{");
  });
});

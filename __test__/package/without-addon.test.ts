import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import packageJson from "../../package.json" with { type: "json" };
import { shimctl } from "../cli/shimctl.js";
import { ROOT } from "../helpers/program.js";
import { temporaryAddress, temporaryPath } from "../helpers/temp.js";

const NAME = "containerd-shim-protos";

/** The entries but for the main one, which loads the addon at once, so that a program learns at its start what is missing. */
const ENTRIES = Object.keys(packageJson.exports)
  .filter((name) => name !== "." && !name.endsWith(".json"))
  .map((name) => name.replace(".", NAME));

/** What a module prints in a Node that loads no addons. */
async function printed(source: string): Promise<unknown> {
  const args = ["--no-addons", "--input-type=module", "--eval", source];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT });
  return JSON.parse(stdout);
}

describe("where no addon can be loaded", () => {
  it("every entry but the main one can be imported, for its messages", async () => {
    const failed = await printed(`
      const failed = [];
      for (const entry of ${JSON.stringify(ENTRIES)}) await import(entry).catch(({ message }) => failed.push([entry, message]));
      console.log(JSON.stringify(failed));`);
    expect(failed).toEqual([]);
  });

  it("messages are encoded and decoded", async () => {
    const id = await printed(`
      import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
      import { StateRequestSchema } from "${NAME}/task/v3";
      const bytes = toBinary(StateRequestSchema, create(StateRequestSchema, { id: "web" }));
      console.log(JSON.stringify(fromBinary(StateRequestSchema, bytes).id));`);
    expect(id).toBe("web");
  });

  it("what needs it fails for that reason, and takes no shim for a dead one", async () => {
    const state = temporaryPath();
    const bundle = join(state, "io.containerd.runtime.v2.task", "default", "web");
    mkdirSync(bundle, { recursive: true });
    writeFileSync(join(bundle, "address"), temporaryAddress());
    const codes = await printed(`
      import { listenEvents } from "${NAME}/events";
      import { runPlugin } from "${NAME}/nri";
      import { listShims, watchShims } from "${NAME}/shims";
      const state = ${JSON.stringify(state)};
      const tries = [
        () => import("${NAME}"),
        () => listenEvents("${temporaryAddress()}"),
        () => listShims({ state }),
        () => watchShims({ state }).next(),
        () => runPlugin("a", "10", { createContainer() {} }, { socket: "${temporaryAddress()}" }).closed,
      ];
      const codes = [];
      for (const one of tries) codes.push(await (async () => one())().then(() => "none", ({ code }) => code));
      console.log(JSON.stringify(codes));`);
    expect(codes).toEqual(Array(5).fill("ERR_NATIVE_ADDON"));
  });

  it("shimctl describes services, and says in plain words why it cannot call", async () => {
    const env = { NODE_OPTIONS: "--no-addons" };
    const described = await shimctl(["describe", "containerd.task.v3.Task/State"], { env });
    expect(described).toMatchObject({ code: 0, stderr: "" });
    const { code, stderr } = await shimctl(["call", temporaryAddress(), "Task/State"], { env });
    expect(code).toBe(2);
    expect(stderr).toMatch(/^shimctl: containerd-shim-protos \S+ could not load its native addon on /);
    expect(stderr).toContain("\nNode was started with --no-addons");
    expect(stderr).not.toContain("    at ");
  });
});

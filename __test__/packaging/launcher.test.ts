import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { connect, createClient } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { bundleFixture } from "../shim/packed.js";
import { type Ended, run, type Runtime } from "./consumer.js";
import { NAME, PLATFORMS, ROOT } from "./release.js";

const SHIM = "containerd-shim-fixture-v1";
const folder = mkdtempSync(join(tmpdir(), "shim-launcher-"));
const script = join(folder, "shim.cjs");

/** The loader that programs for musl name. A machine with glibc has none. */
const MUSL_LOADER = "/lib/ld-musl-x86_64.so.1";

/**
 * Runs a command in a mount namespace of its own, whose /lib has musl's loader besides everything else. Arguments: the
 * loader, an empty folder, the command.
 */
const WITH_MUSL = `set -e
lib=$(readlink -f /lib)
mount -t tmpfs tmpfs "$2"
mkdir "$2/upper" "$2/work"
mount -t overlay overlay -o "lowerdir=$lib,upperdir=$2/upper,workdir=$2/work" "$lib"
cp "$1" ${MUSL_LOADER}
shift 2
exec "$@"`;

beforeAll(() => bundleFixture(script));

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(PLATFORMS.filter((platform) => platform !== "linux-arm64-musl"))(
  "a shim packed with the addon for %s",
  (platform) => {
    const runtime = inject("runtimes").find((candidate) => candidate.platform === platform) as Runtime;
    const home = join(folder, platform);
    const program = join(home, SHIM);
    const bundle = join(home, "bundle");

    beforeAll(async () => {
      mkdirSync(bundle, { recursive: true });
      writeFileSync(join(bundle, "config.json"), '{ "ociVersion": "1.0.2" }');
      const addon = join(ROOT, "npm", platform, `${NAME}.${platform}.node`);
      const shimctl = join(ROOT, "dist", "cli", "shimctl.js");
      const packing = ["pack", script, "--output", program, "--addon", addon];
      const { status, stderr } = await run(process.execPath, [shimctl, ...packing], { cwd: home });
      if (status !== 0 || stderr !== "") throw new Error(`shimctl pack ended with ${status}: ${stderr}`);
    });

    /** Runs the program in the bundle, as the platform does. */
    function shim(args: readonly string[]): Promise<Ended> {
      const [command = "", ...given] = commandOf(runtime, [program, ...args]);
      const env = { ...process.env, PATH: [dirname(runtime.node), process.env["PATH"]].join(delimiter) };
      return run(command, given, { cwd: bundle, env });
    }

    it("is one program, which finds Node and runs the script with the addon", async () => {
      const printed = await shim(["-v"]);
      expect(printed).toMatchObject({ status: 0, stderr: "" });
      expect(printed.stdout).toContain(`Node.js:  v${runtime.version}\n`);
    });

    // The emulator has no subreapers, which a shim's server asks for.
    if (platform === "linux-arm64-gnu") return;

    it("starts a server, which ends when it is told to", async () => {
      const flags = ["-namespace", "tests", "-id", platform, "-address", join(home, "containerd.sock")];
      const { status, stdout: address, stderr } = await shim([...flags, "start"]);
      expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
      await using connection = await connect(address);
      const client = createClient(Task, connection);
      expect(await client.connect({})).toMatchObject({ version: platform });
      await client.shutdown({});
      await connection.closed;
    });
  },
);

/** Wraps a command so that this machine runs it as one of the platform. */
function commandOf({ platform, starter }: Runtime, command: readonly string[]): readonly string[] {
  if (!platform.endsWith("-musl")) return [...starter, ...command];
  const mounted = mkdtempSync(join(folder, "musl-"));
  return ["unshare", "--mount", "sh", "-c", WITH_MUSL, "sh", ...starter, mounted, ...command];
}

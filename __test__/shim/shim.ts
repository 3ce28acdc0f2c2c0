import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { BootstrapParamsSchema, BootstrapResultSchema, LogLevel } from "containerd-shim-protos/bootstrap";
import { temporaryPath } from "../helpers/temp.js";

/** The shim of these tests, which Node runs. */
export const FIXTURE = fileURLToPath(new URL("fixture.mjs", import.meta.url));

export interface Answer {
  readonly code: number | NodeJS.Signals;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** What containerd prepares before it runs a shim: a bundle as working directory, and addresses. */
export class ShimHost {
  readonly id: string;
  readonly bundle: string;
  readonly sockets: string;
  readonly env: Record<string, string>;
  /** What is executed; Node if it is left out. */
  readonly executable: string;
  /** Its first arguments. */
  readonly program: readonly string[];

  constructor({
    id = "box",
    bundle = temporaryPath(),
    does = "",
    sockets = temporaryPath(),
    env = {},
    executable = process.execPath,
    program = executable === process.execPath ? [FIXTURE] : [],
  }: Partial<ShimHost> & { does?: string } = {}) {
    this.id = id;
    this.bundle = bundle;
    this.sockets = sockets;
    this.executable = executable;
    this.program = program;
    this.env = { FIXTURE: does, TTRPC_ADDRESS: `${sockets}.ttrpc`, ...env };
    mkdirSync(bundle, { recursive: true });
  }

  /** The flags that containerd passes with every action. */
  get flags(): string[] {
    return [
      "-namespace",
      "tests",
      "-address",
      `${this.sockets}.grpc`,
      "-publish-binary",
      "/bin/true",
      "-id",
      this.id,
    ];
  }

  /** Starts the program. */
  spawn(args: readonly string[], input: Uint8Array = new Uint8Array()): ChildProcess {
    const child = spawn(this.executable, [...this.program, ...args], {
      cwd: this.bundle,
      env: { ...process.env, ...this.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(input);
    return child;
  }

  /** Runs the program until it has ended and nothing holds its output open, as containerd does. */
  async run(args: readonly string[], input?: Uint8Array): Promise<Answer> {
    const child = this.spawn(args, input);
    const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
    child.stdout?.on("data", (chunk: Buffer) => stdout.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => stderr.push(chunk));
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    return {
      code: code ?? signal ?? 0,
      stdout: Buffer.concat(stdout),
      stderr: Buffer.concat(stderr).toString(),
    };
  }

  /** What containerd 2.3 and later writes to stdin. */
  get params(): Uint8Array {
    return toBinary(
      BootstrapParamsSchema,
      create(BootstrapParamsSchema, {
        instanceId: this.id,
        namespace: "tests",
        logLevel: LogLevel.DEBUG,
        socketDir: this.sockets,
        extensions: [{ value: create(AnySchema, { typeUrl: "some.Options", value: Uint8Array.of(1, 2) }) }],
      }),
    );
  }

  start(flags: readonly string[] = []): Promise<Answer> {
    return this.run([...this.flags, ...flags, "start"], this.params);
  }

  /** Starts a shim and returns the address that it answers with. */
  async address(flags: readonly string[] = []): Promise<string> {
    const { code, stdout, stderr } = await this.start(flags);
    if (code !== 0 || stderr !== "") throw new Error(`start ended with ${code}: ${stderr}`);
    const { version, protocol, address } = fromBinary(BootstrapResultSchema, stdout);
    if (version !== 3 || protocol !== "ttrpc") throw new Error(`start answered ${version}, ${protocol}`);
    return address;
  }

  /** The servers that this host's starts left running. */
  processes(): number[] {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`\0-address\0${this.sockets}.grpc\0`);
        } catch {
          return false;
        }
      });
  }

  /** Ends whatever still runs. */
  [Symbol.dispose](): void {
    for (const pid of this.processes()) process.kill(pid, "SIGKILL");
  }
}

import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { PlatformName } from "./release.js";

/** A Node to install with and to run on. */
export interface Runtime {
  readonly platform: PlatformName;
  readonly version: string;
  /** Its program. */
  readonly node: string;
  /** The npm that it runs. */
  readonly npm: string;
  /** The words before a program of the platform, to run it here. */
  readonly starter: readonly string[];
}

/** The outcome of a process. */
export interface Ended {
  readonly status: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

const FIXTURES = new URL("fixtures/", import.meta.url).pathname;

/**
 * The folder of a user of the package. PATH has only Node, no compiler and no cargo, and the home folder is empty.
 */
export class Consumer implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "shim-consumer-"));
  readonly project = join(this.folder, "project");
  readonly #runtime: Runtime;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
    mkdirSync(this.project);
    writeFileSync(join(this.project, "package.json"), '{ "private": true, "type": "module" }\n');
  }

  /** Runs npm. Fails with its output. */
  async npm(...args: readonly string[]): Promise<string> {
    const settings = ["--no-audit", "--no-fund", "--no-update-notifier", `--cache=${this.folder}/cache`];
    // npm assumes that Node runs on the machine's C library, which it reads from /usr/bin/ldd.
    if (this.#runtime.platform.endsWith("-musl")) settings.push("--libc=musl");
    const ended = await this.node([this.#runtime.npm, ...args, ...settings]);
    if (ended.status !== 0)
      throw new Error(`npm ${args.join(" ")}: ${ended.status}\n${ended.stdout}${ended.stderr}`);
    return ended.stdout;
  }

  /** Runs Node in the project. */
  node(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    return run(this.#runtime.node, args, {
      cwd: this.project,
      env: { ...certificates(), HOME: this.folder, PATH: dirname(this.#runtime.node), ...env },
    });
  }

  /** Copies a fixture, a file or a folder, into the project. */
  add(fixture: string, as = fixture): string {
    const target = join(this.project, as);
    cpSync(join(FIXTURES, fixture), target, { recursive: true });
    return target;
  }

  /** Writes a file into the project. */
  write(name: string, text: string): void {
    writeFileSync(join(this.project, name), text);
  }

  /** A path in an installed package. */
  installed(...path: readonly string[]): string {
    return join(this.project, "node_modules", ...path);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs a program, without input, to its end. */
export function run(
  program: string,
  args: readonly string[],
  options: { readonly cwd: string; readonly env?: NodeJS.ProcessEnv },
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(program, args, { ...options, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : (error.code ?? error.signal ?? error.message), stdout, stderr });
    });
    child.stdin?.end();
  });
}

/** The variables that a machine may need to reach its registry. */
function certificates(): Record<string, string> {
  const names = ["NODE_EXTRA_CA_CERTS", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"];
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name];
      return value === undefined ? [] : [[name, value]];
    }),
  );
}

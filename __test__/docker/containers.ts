import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Result, run } from "../cri/command.js";
import { Engine, IMAGE } from "./engine.js";
import type { Runtime } from "./runtimes.js";
import { quoted } from "../helpers/shell.js";

/** Of what `docker inspect` says of a container. */
export interface State {
  readonly Status: string;
  readonly ExitCode: number;
  readonly OOMKilled: boolean;
  readonly Error: string;
  readonly Pid: number;
}

/** Of an event, as the engine tells it. */
interface Told {
  readonly Action: string;
  readonly Actor: { readonly Attributes: Readonly<Record<string, string>> };
}

/** What a listener learns of an event besides its name. */
const ATTRIBUTES = ["exitCode", "signal"];
/** These race with the container's end, in threads of dockerd and containerd. */
const UNORDERED = ["oom", "stop"];
/** The size of a terminal of {@link Containers.onTerminal}. */
export const TERMINAL_SIZE = { columns: 90, rows: 30 };
let made = 0;

/** Containers of one runtime, apart from all others. */
export class Containers {
  readonly runtime: Runtime;
  readonly #engine: Engine;
  readonly #group = `g${made++}`;
  readonly #since = Date.now();

  constructor(engine: Engine, runtime: Runtime) {
    this.#engine = engine;
    this.runtime = runtime;
  }

  /** The name that the engine has for a container. */
  named(name: string): string {
    return `${this.#group}-${name}`;
  }

  /** `docker run` to its end, without a name. */
  run(flags: readonly string[], command: readonly string[], input?: string): Promise<Result> {
    return this.#engine.docker(["run", ...this.#flags(), ...flags, IMAGE, ...command], input);
  }

  /** `docker run` of a script in a container that is removed when it ends. */
  script(flags: readonly string[], script: string, input?: string): Promise<Result> {
    return this.run(["--rm", ...flags], ["sh", "-c", script], input);
  }

  /** Starts a script in the background. */
  async start(name: string, flags: readonly string[], script: string): Promise<void> {
    await this.succeed(
      "run",
      "--detach",
      "--name",
      this.named(name),
      ...this.#flags(),
      ...flags,
      IMAGE,
      "sh",
      "-c",
      script,
    );
  }

  exec(name: string, flags: readonly string[], script: string, input?: string): Promise<Result> {
    return this.#engine.docker(["exec", ...flags, this.named(name), "sh", "-c", script], input);
  }

  /** Any command of `docker`, with the container as its last argument. */
  of(name: string, ...args: readonly string[]): Promise<Result> {
    return this.#engine.docker([...args, this.named(name)]);
  }

  /** The same for a command that is killed after a second. */
  cutShort(name: string, ...args: readonly string[]): Promise<Result> {
    return run("docker", [...args, this.named(name)], { env: Engine.env, timeoutMs: 1_000 });
  }

  /** The same for a command of which all that counts is what it prints. */
  async printed(name: string, ...args: readonly string[]): Promise<string> {
    return (await this.succeed(...args, this.named(name))).trim();
  }

  /** `docker` on a terminal, as a person has it; resolves to all that was to be seen. */
  async onTerminal(args: readonly string[], input = ""): Promise<Result> {
    const { columns, rows } = TERMINAL_SIZE;
    const script = `stty cols ${columns} rows ${rows}; ${quoted(["docker", ...args])}`;
    return run("script", ["-qec", script, "/dev/null"], {
      input,
      env: Engine.env,
    });
  }

  /** The flags that let a script wait for {@link release}. */
  get holdable(): string[] {
    mkdirSync(this.#folder, { recursive: true });
    return ["--volume", `${this.#folder}:/released`];
  }

  /** A script that begins when it is released, whether there is a daemon then or not. */
  held(script: string): string {
    return `while ! [ -e /released/now ]; do sleep 0.1; done; ${script}`;
  }

  /** Lets what is held begin. */
  release(): void {
    writeFileSync(join(this.#folder, "now"), "");
  }

  get #folder(): string {
    return join("/run/tmp", this.#group);
  }

  /** The arguments of `docker run` for a script on a terminal. */
  terminalArguments(script: string): string[] {
    return ["run", "--rm", "-it", ...this.#flags(), IMAGE, "sh", "-c", script];
  }

  async state(name: string): Promise<State> {
    return JSON.parse(await this.printed(name, "inspect", "--format", "{{json .State}}")) as State;
  }

  /** What can be seen of all containers in the end: their states, and all events in their order. Removes them. */
  async account(): Promise<{ readonly states: object; readonly events: readonly (readonly string[])[] }> {
    const filter = ["--filter", `label=group=${this.#group}`];
    const list = await this.succeed("ps", "--all", "--no-trunc", "--format", "{{.Names}}", ...filter);
    const names = list.split("\n").filter(Boolean).toSorted();
    const states = new Map<string, unknown>();
    for (const name of names) {
      const format = "{{json .State}} {{.RestartCount}}";
      const [, state = "", count] =
        /^(.*) (\d+)$/m.exec(await this.succeed("inspect", "--format", format, name)) ?? [];
      const { Status, ExitCode, OOMKilled, Error: error } = JSON.parse(state) as State;
      states.set(this.#without(name), {
        Status,
        ExitCode,
        OOMKilled,
        Error: this.#without(error),
        restarts: Number(count),
      });
    }
    if (names.length > 0) await this.succeed("rm", "--force", ...names);
    const since = (this.#since / 1000).toFixed(3);
    const until = (Date.now() / 1000).toFixed(3);
    const times = ["--since", since, "--until", until];
    const lines = await this.succeed("events", ...times, ...filter, "--format", "{{json .}}");
    const events = lines
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line) as Told);
    return { states: Object.fromEntries(states), events: this.#byContainer(events) };
  }

  /** Events of different containers have no order. Those without a name of ours have one of Docker's, which is random. */
  #byContainer(events: readonly Told[]): readonly (readonly string[])[] {
    const lists = new Map<string, string[]>();
    for (const { Action, Actor } of events) {
      const { name = "" } = Actor.Attributes;
      const words = ATTRIBUTES.filter((key) => key in Actor.Attributes).map(
        (key) => `${key}=${Actor.Attributes[key]}`,
      );
      const list = lists.get(name) ?? [name.startsWith(this.#group) ? this.#without(name) : "unnamed"];
      lists.set(name, [...list, [Action, ...words].join(" ")]);
    }
    return [...lists.values()]
      .map(([name = "", ...told]) => [name].concat(inOrder(told)))
      .toSorted((one, other) => (one.join() < other.join() ? -1 : 1));
  }

  #without(text: string): string {
    return text.replaceAll(`${this.#group}-`, "");
  }

  #flags(): string[] {
    return ["--runtime", this.runtime.runtime, "--label", `group=${this.#group}`];
  }

  async succeed(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#engine.docker(args);
    if (code !== 0) throw new Error(`docker ${args.join(" ")}: ${stderr}`);
    return stdout;
  }
}

/** What has no order of its own comes last, once. */
function inOrder(told: readonly string[]): string[] {
  const ordered = told.filter((action) => !UNORDERED.includes(action));
  return ordered.concat(UNORDERED.filter((action) => told.includes(action)));
}

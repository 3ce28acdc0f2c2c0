import { styleText } from "node:util";
import { Argument, Command, Option, type OptionValues } from "commander";
import { count, duration, durationOrNone, filled, metadata, repeated, upToAMillion } from "./arguments.js";
import { printError, styledError } from "./output/stdout.js";
import { withSchemaOptions } from "./schema/options.js";

declare const SHIMCTL_VERSION: string;

const TARGET =
  "a container's id or its beginning, or an address: unix:///path, a bare path, unix://@abstract, tcp://ip:port, " +
  "vsock://cid:port, hvsock:///path:port";
const ROUTE = "a method, such as Task/State or containerd.task.v2.Task/State";
const KINDS = ["unary", "server_streaming", "client_streaming", "bidi_streaming"] as const;

/** The command line. Each command is loaded when it runs, so that none pays for the others. */
export function program(): Command {
  // An empty variable stands for none, as for every shell.
  for (const name of VARIABLES) if (process.env[name] === "") delete process.env[name];
  const shimctl = new Command("shimctl")
    .description("Talks ttrpc to live shims of containerd, and to any other ttrpc service.")
    .version(SHIMCTL_VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .addOption(
      new Option(
        "--state <dir>",
        "containerd's state folder (default: that of --address, or /run/containerd)",
      )
        .env("CONTAINERD_STATE")
        .argParser(filled),
    )
    .addOption(
      new Option("--address <path>", "containerd's gRPC socket (default: containerd.sock in --state)")
        .env("CONTAINERD_ADDRESS")
        .argParser(filled),
    )
    .addOption(
      new Option("-n, --namespace <name>", "the namespace of containers; for events, may be repeated")
        .env("CONTAINERD_NAMESPACE")
        .argParser<string[]>((text, earlier) => repeated(filled(text), earlier)),
    )
    // commander's own does not say that a command is unknown.
    .helpCommand(false)
    // commander strips styles again if it does not print to a terminal.
    .configureHelp({
      showGlobalOptions: true,
      styleTitle: (title) => styleText("bold", title, { validateStream: false }),
    })
    .configureOutput({
      outputError(text) {
        const lines = text
          .replace(/^error:/, "shimctl:")
          .trimEnd()
          .split("\n");
        printError(lines.map((line) => styledError("red", line)));
      },
    })
    .showHelpAfterError("  try `shimctl help`, or `shimctl help COMMAND`")
    .showSuggestionAfterError(true)
    .addHelpText("after", EXAMPLES)
    .exitOverride();

  // Only commands created from here on inherit the settings above.
  shimctl
    .command("ls")
    .description("list the shims of this host")
    .argument("[id]", "only containers whose ids begin with this")
    .option("--sockets <dir>", "the folder of the shims' sockets", filled, "/run/containerd/s")
    .option("--json", "print JSON")
    .option("-w, --watch", "list again and again; in place on a terminal")
    .addOption(durationOption("--interval <duration>", "how often --watch lists", "2s"))
    .addOption(durationOption("--timeout <duration>", "how long a shim may take to answer", "2s"))
    .action(async (id, _, command: Command) => (await import("./commands/ls.js")).ls(id, valuesOf(command)));

  withSchemaOptions(
    shimctl
      .command("call")
      .description("call a method")
      .argument("<target>", TARGET)
      .argument("<service/method>", ROUTE)
      .argument("[data]", "the request as JSON, @file, or - for stdin; a stream takes one per line"),
  )
    .option("--timeout <duration>", "the deadline of the call, and the limit for connecting", duration)
    .option("-m, --metadata <key=value>", "send metadata; may be repeated", metadata)
    .option("--raw", "messages are hexadecimal, and the method may be unknown")
    .addOption(new Option("--kind <kind>", "the kind of the method, with --raw").choices(KINDS))
    .option("--json", "print each reply in one line, even on a terminal")
    .option("--emit-defaults", EMIT_DEFAULTS)
    .action(async (target, route, data, _, command: Command) =>
      (await import("./commands/call.js")).call(target, route, data, valuesOf(command)),
    );

  withSchemaOptions(
    shimctl
      .command("describe")
      .description("print definitions")
      .argument("[names...]", "services, methods, messages or enums; all services if left out"),
  )
    .option("--json", "print each definition as a line of JSON")
    .action(async (names, options) => (await import("./commands/describe.js")).describe(names, options));

  withSchemaOptions(
    shimctl
      .command("events")
      .description("print events: containerd's, or those that shims publish to an address")
      .argument(
        "[target]",
        "a container's id, or the address to listen on, which publishers have as their TTRPC_ADDRESS",
      ),
  )
    .option("--topic <prefix>", "only topics with this prefix, such as /tasks/; may be repeated", repeated)
    .option("--filter <filter>", "only events that match, in containerd's syntax; may be repeated", repeated)
    .option("--forward <address>", "forward each event to containerd here, and the answer to the shim")
    .option("--json", "print a line of JSON for each event")
    .option("--emit-defaults", EMIT_DEFAULTS)
    .addHelpText("after", EVENTS_HELP)
    .action(async (target, _, command: Command) =>
      (await import("./commands/events.js")).events(target, command.optsWithGlobals()),
    );

  shimctl
    .command("stats")
    .description("show the CPU, memory and I/O that a container uses, until it ends")
    .argument("<target>", TARGET)
    .argument("[id]", "the container, after the address of a shim that has several")
    .addOption(durationOption("--interval <duration>", "how often to take a sample", "1s"))
    .option("-c, --count <number>", "stop after this many samples", count)
    .addOption(durationOption("--timeout <duration>", "how long the shim may take to answer", "2s"))
    .option("--json", "print a line of JSON for each sample")
    .action(async (target, id, _, command: Command) =>
      (await import("./commands/stats.js")).stats(target, id, valuesOf(command)),
    );

  withSchemaOptions(
    shimctl
      .command("proxy")
      .description("forward ttrpc connections and print their frames")
      .argument("<listen>", "where to listen: unix or tcp")
      .argument("<target>", "where to forward connections: a container's id, unix, tcp or hvsock"),
  )
    .option("--json", "print a line of JSON for each frame")
    .option("--full", "print long messages whole")
    .option("--emit-defaults", EMIT_DEFAULTS)
    .action(async (listen, target, _, command: Command) =>
      (await import("./commands/proxy.js")).proxy(listen, target, valuesOf(command)),
    );

  withSchemaOptions(
    shimctl
      .command("bench")
      .description("measure the rate and latency of a unary method")
      .argument("<target>", TARGET)
      .argument("<service/method>", ROUTE)
      .argument("[data]", "the request as JSON, @file, or - for stdin"),
  )
    .option("-c, --concurrency <number>", "calls in flight", upToAMillion, 1)
    .option("--connections <number>", "connections that share them", upToAMillion, 1)
    .addOption(durationOption("-d, --duration <duration>", "how long to measure", "5s"))
    .option("--calls <number>", "make this many calls instead", count)
    .addOption(
      durationOption("--warmup <duration>", "how long to call before measuring", "500ms", durationOrNone),
    )
    .option("--timeout <duration>", "the deadline of a call, and of connecting", duration)
    .option("-m, --metadata <key=value>", "send metadata; may be repeated", metadata)
    .option("--json", "print JSON")
    .action(async (target, route, data, _, command: Command) =>
      (await import("./commands/bench.js")).bench(target, route, data, valuesOf(command)),
    );

  shimctl
    .command("new-shim")
    .description("write a first shim, on which to build your own")
    .argument("<dir>", "the folder, which must be empty or not exist")
    .option("--name <name>", "the runtime's name, io.containerd.NAME.v1 (default: that of the folder)")
    .action(async (dir, options) => (await import("./commands/new-shim.js")).newShim(dir, options));

  shimctl
    .command("pack")
    .description("join a shim's script and the addon into one program")
    .argument("<script>", "the shim, bundled into one CommonJS file")
    .requiredOption("-o, --output <file>", "the program to write: containerd-shim-NAME-VERSION", filled)
    .option("--node <path>", "the Node that it runs (default: the first on containerd's PATH)", filled)
    .option(
      "--addon <file>",
      "the addon of another platform, from its package (default: that of this one)",
      filled,
    )
    .option<string[]>(
      "--node-flag <flag>",
      "a flag for Node, after those that every shim gets; may be repeated",
      (text, earlier) => repeated(filled(text), earlier),
    )
    .action(async (script, options) => (await import("./commands/pack.js")).pack(script, options));

  shimctl
    .command("completion")
    .description("print a completion script for a shell")
    .addArgument(new Argument("<shell>", "the shell").choices(["bash", "zsh", "fish"]))
    .action(async (shell) => (await import("./commands/completion.js")).completion(shell));

  const names = shimctl.commands.map((command) => command.name());
  shimctl
    .command("help")
    .description("print the help of a command")
    .addArgument(new Argument("[command]", "the command; all of them if left out").choices(names))
    .action((name?: string) => {
      const command = shimctl.commands.find((one) => one.name() === name) ?? shimctl;
      command.help();
    });

  shimctl
    .command("complete", { hidden: true })
    .argument("[words...]", "the words after the command's own name")
    .option("--line <line>", "a line of bash, up to the cursor, in place of the words")
    .action(async (words: string[], { line }: { readonly line?: string }) =>
      (await import("./commands/completion.js")).complete(shimctl, line ?? words),
    );

  return shimctl;
}

const EMIT_DEFAULTS = "include fields that have their default value";

/** The variables that stand for options of all commands. */
const VARIABLES = ["CONTAINERD_STATE", "CONTAINERD_ADDRESS", "CONTAINERD_NAMESPACE"] as const;

/** The options of a command that is about one namespace: the last one counts. */
function valuesOf<T extends OptionValues>(command: Command): T {
  const values: OptionValues & { readonly namespace?: readonly string[] } = command.optsWithGlobals();
  return { ...values, namespace: values.namespace?.at(-1) } as unknown as T;
}

function durationOption(flags: string, description: string, byDefault: string, parse = duration): Option {
  return new Option(flags, description).argParser(parse).default(parse(byDefault), byDefault);
}

const EVENTS_HELP = `
Without an address it subscribes to containerd over gRPC, as \`ctr events\` does, and subscribes again when
containerd restarts. With an address it listens there, in containerd's place. Start a shim of your own
with that address as its TTRPC_ADDRESS, or put this command between containerd and its shims:

  mv /run/containerd/containerd.sock.ttrpc /run/containerd/real.ttrpc
  shimctl events /run/containerd/containerd.sock.ttrpc --forward /run/containerd/real.ttrpc

and move the socket back when done. Shims that were connected before still publish to containerd directly.`;

const EXAMPLES = `
Examples:
  shimctl ls
  shimctl call web Task/State
  shimctl call /run/containerd/s/4f1c… containerd.task.v2.Task/State '{"id":"web"}'
  shimctl describe containerd.task.v3.Task/Create

Exit codes: 0, 1 for a status other than OK, 2 for a wrong command line, 3 for a connection that failed.`;

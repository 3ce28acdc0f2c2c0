import { styleText } from "node:util";
import { Argument, Command, Option } from "commander";
import { count, duration, metadata, repeated } from "./arguments.js";
import { printError, styledError } from "./output/stdout.js";
import { withSchemaOptions } from "./schema/options.js";

declare const SHIMCTL_VERSION: string;

const ADDRESS = "unix:///path or a bare path, unix://@abstract, tcp://ip:port, vsock://cid:port";
const ROUTE = "a method, such as containerd.task.v2.Task/State";
const KINDS = ["unary", "server_streaming", "client_streaming", "bidi_streaming"] as const;

/** The command line. Each command is loaded when it runs, so that none pays for the others. */
export function program(): Command {
  const shimctl = new Command("shimctl")
    .description("Talks ttrpc to live shims of containerd, and to any other ttrpc service.")
    .version(SHIMCTL_VERSION, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    // commander's own does not say that a command is unknown.
    .helpCommand(false)
    // commander strips styles again if it does not print to a terminal.
    .configureHelp({ styleTitle: (title) => styleText("bold", title, { validateStream: false }) })
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
    .option("--state <dir>", "containerd's state folder", "/run/containerd")
    .option("--sockets <dir>", "the folder of the shims' sockets", "/run/containerd/s")
    .option("--json", "print JSON")
    .option("-w, --watch", "keep listing; on a terminal, in place")
    .addOption(durationOption("--interval <duration>", "how often --watch lists", "2s"))
    .addOption(durationOption("--timeout <duration>", "how long a shim may take to answer", "2s"))
    .action(async (options) => (await import("./commands/ls.js")).ls(options));

  withSchemaOptions(
    shimctl
      .command("call")
      .description("call a method")
      .argument("<address>", ADDRESS)
      .argument("<service/method>", ROUTE)
      .argument("[data]", "the request as JSON, @file, or - for stdin; a stream takes one per line"),
  )
    .option("--timeout <duration>", "the deadline, for connecting too", duration)
    .option("-m, --metadata <key=value>", "send metadata; may be repeated", metadata)
    .option("--raw", "use hexadecimal instead of JSON, also for unknown methods")
    .addOption(new Option("--kind <kind>", "the kind of the method, with --raw").choices(KINDS))
    .action(async (address, route, data, options) =>
      (await import("./commands/call.js")).call(address, route, data, options),
    );

  withSchemaOptions(
    shimctl
      .command("describe")
      .description("print definitions")
      .argument("[names...]", "services, SERVICE/METHOD, messages or enums; all services if left out"),
  ).action(async (names, options) => (await import("./commands/describe.js")).describe(names, options));

  withSchemaOptions(
    shimctl
      .command("events")
      .description("receive events in containerd's place and print them")
      .argument("[address]", "where to listen: the TTRPC_ADDRESS of the publishers", EVENTS_ADDRESS),
  )
    .option("--topic <prefix>", "only topics with this prefix, such as /tasks/; may be repeated", repeated)
    .option("-n, --namespace <name>", "only this namespace; may be repeated", repeated)
    .option("--forward <address>", "pass each event on to containerd, and its answer back")
    .option("--json", "print a line of JSON for each event")
    .addHelpText("after", EVENTS_HELP)
    .action(async (address, options) => (await import("./commands/events.js")).events(address, options));

  shimctl
    .command("stats")
    .description("show the CPU, memory and IO that a container uses")
    .argument("<address>", ADDRESS)
    .argument("<id>", "the container")
    .addOption(durationOption("--interval <duration>", "how often to take a sample", "1s"))
    .option("-n, --count <number>", "stop after this many samples", count)
    .addOption(durationOption("--timeout <duration>", "how long the shim may take to answer", "2s"))
    .option("--json", "print a line of JSON for each sample")
    .action(async (address, id, options) =>
      (await import("./commands/stats.js")).stats(address, id, options),
    );

  withSchemaOptions(
    shimctl
      .command("proxy")
      .description("pass ttrpc connections through and print their frames")
      .argument("<listen>", "where to listen: unix or tcp")
      .argument("<target>", "where to pass connections on to: unix or tcp"),
  )
    .option("--json", "print a line of JSON for each frame")
    .action(async (listen, target, options) =>
      (await import("./commands/proxy.js")).proxy(listen, target, options),
    );

  withSchemaOptions(
    shimctl
      .command("bench")
      .description("measure the rate and latency of a unary method")
      .argument("<address>", ADDRESS)
      .argument("<service/method>", ROUTE)
      .argument("[data]", "the request as JSON, @file, or - for stdin"),
  )
    .option("-c, --concurrency <number>", "calls in flight", count, 1)
    .option("--connections <number>", "connections that share them", count, 1)
    .addOption(durationOption("-d, --duration <duration>", "how long to measure", "5s"))
    .option("-n, --calls <number>", "make this many calls instead", count)
    .addOption(durationOption("--warmup <duration>", "how long to call before measuring", "500ms"))
    .option("--timeout <duration>", "the deadline of a call, and of connecting", duration)
    .option("-m, --metadata <key=value>", "send metadata; may be repeated", metadata)
    .option("--json", "print JSON")
    .action(async (address, route, data, options) =>
      (await import("./commands/bench.js")).bench(address, route, data, options),
    );

  shimctl
    .command("completion")
    .description("print a script that makes a shell complete shimctl commands")
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
    .argument("[words...]")
    .action(async (words: string[]) => (await import("./commands/completion.js")).complete(shimctl, words));

  return shimctl;
}

function durationOption(flags: string, description: string, byDefault: string): Option {
  return new Option(flags, description).argParser(duration).default(duration(byDefault), byDefault);
}

const EVENTS_ADDRESS = `${process.env["XDG_RUNTIME_DIR"] ?? "/run"}/shimctl-events.sock`;

const EVENTS_HELP = `
Shims publish their events to the address that containerd gave them, and containerd hands them to its
clients over gRPC. \`ctr events\` is such a client; this command listens where shims publish. Start a shim
of your own with TTRPC_ADDRESS set to its address, or put this command in front of a containerd:

  mv /run/containerd/containerd.sock.ttrpc /run/containerd/real.ttrpc
  shimctl events /run/containerd/containerd.sock.ttrpc --forward /run/containerd/real.ttrpc

and put the socket back when done. Shims that were connected before keep publishing past it.`;

const EXAMPLES = `
Examples:
  shimctl ls
  shimctl call /run/containerd/s/4f1c… containerd.task.v2.Task/State '{"id":"web"}'
  shimctl describe containerd.task.v3.Task/Create

Exit codes: 0, 1 for a status other than OK, 2 for a wrong command line, 3 for a connection that failed.`;

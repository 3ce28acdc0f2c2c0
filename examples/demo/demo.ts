/**
 * Shows what the package does and how fast: `npm run demo`, or for a shim that is already running,
 * `npm run demo -- --address unix:///run/containerd/s/…`. See `--help`.
 */

import { constants } from "node:os";
import { connect, createClient } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { makeCalls } from "./calls.js";
import { showLoad } from "./load.js";
import { help, type Options, readOptions, UsageError } from "./options.js";
import { fact, heading } from "./print.js";
import { ServerProcess } from "./server-process.js";
import { inspectShim } from "./shim.js";

async function demonstrate(options: Options, signal: AbortSignal): Promise<void> {
  await using server = await ServerProcess.start(signal);
  await using connection = await connect(server.address, { signal });
  const task = createClient(Task, connection);
  heading("Two processes");
  fact("server", `pid ${server.pid} on ${server.address}`);
  fact("client", `pid ${process.pid}`);
  await makeCalls(task, signal);
  await showLoad(task, options.calls, signal);
}

// The first signal ends the demo by the usual path, so that nothing is left behind. A second one ends the process at once
// and removes only the folder.
const stop = new AbortController();
let interrupted: number | undefined;
const interrupt = (status: number) => {
  if (interrupted !== undefined) process.exit(interrupted);
  interrupted = status;
  stop.abort();
};
const { SIGINT, SIGTERM, SIGHUP, SIGPIPE } = constants.signals;
for (const [name, number] of Object.entries({ SIGINT, SIGTERM, SIGHUP })) {
  process.on(name, () => interrupt(128 + number));
}
// The reader of the output has gone. Node ignores SIGPIPE and emits an error instead.
process.stdout.on("error", () => interrupt(128 + SIGPIPE));

try {
  const options = readOptions(process.argv.slice(2));
  if (options.help) console.log(help);
  else if (options.address === undefined) await demonstrate(options, stop.signal);
  else if (!(await inspectShim(options.address, options, stop.signal))) process.exitCode = 1;
} catch (error) {
  if (interrupted !== undefined) {
    process.exitCode = interrupted;
  } else if (error instanceof UsageError) {
    console.error(`demo: ${error.message}\nTry \`npm run demo -- --help\`.`);
    process.exitCode = 2;
  } else {
    console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}

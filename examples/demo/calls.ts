import { type Client, unpackAny } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { Status, type Task } from "containerd-shim-protos/task/v3";
import { failing, heading, more, timed } from "./print.js";

/** Makes typed calls: with metadata, past a deadline, and with an error that carries details. */
export async function makeCalls(task: Client<typeof Task>, signal: AbortSignal): Promise<void> {
  const id = "web";
  const metadata = { "containerd-namespace-ttrpc": "demo" };
  const options = { timeoutMs: 1000, metadata, signal };

  heading("Typed calls, with metadata and a deadline of 1 s");
  await timed(
    "connect",
    () => task.connect({ id }, options),
    ({ shimPid }) => `shim pid ${shimPid}`,
  );
  await timed(
    "create",
    () => task.create({ id, bundle: `/run/demo/${id}` }, options),
    ({ pid }) => `pid ${pid}`,
  );
  await timed(
    "start",
    () => task.start({ id }, options),
    ({ pid }) => `pid ${pid}`,
  );
  await timed(
    "state",
    () => task.state({ id }, options),
    ({ status, bundle }) => `${Status[status]}, bundle ${bundle} ("demo" is from the metadata)`,
  );

  heading("A deadline that passes");
  await failing("wait", () => task.wait({ id }, { ...options, timeoutMs: 200 }));

  heading("An error with details");
  await timed(
    "kill",
    () => task.kill({ id, signal: 15 }, options),
    () => "done",
  );
  const error = await failing("kill", () => task.kill({ id, signal: 15 }, options));
  for (const detail of error.details) {
    const exit = unpackAny(detail, TaskExitSchema);
    if (exit === undefined) more(detail.typeUrl);
    else more(`TaskExit: container ${exit.containerId}, pid ${exit.pid}, exit status ${exit.exitStatus}`);
  }
}

import {
  type Client,
  Code,
  connect,
  type Connection,
  createClient,
  TtrpcError,
} from "containerd-shim-protos";
import * as v2 from "containerd-shim-protos/task/v2";
import * as v3 from "containerd-shim-protos/task/v3";
import { UsageError } from "./options.js";
import { call, describeError, fact, heading, timed } from "./print.js";

type TaskClient = Client<typeof v3.Task> | Client<typeof v2.Task>;

/** Asks a shim that is running for its pids and the state of a container. Resolves to whether all calls succeeded. */
export async function inspectShim(
  address: string,
  { id, task: version }: { readonly id: string; readonly task: "v2" | "v3" | undefined },
  signal: AbortSignal,
): Promise<boolean> {
  await using connection = await open(address, signal);
  const options = { timeoutMs: 5000, signal };
  const { task, speaks } = await choose(connection, id, version, options);
  heading("Shim");
  fact("address", connection.address);
  fact("task", speaks);

  heading(id === "" ? "Calls" : `Calls about ${id}`);
  const failures: TtrpcError[] = [];
  const attempt = async <T>(method: string, make: () => Promise<T>, describe: (reply: T) => string) => {
    const start = performance.now();
    try {
      await timed(method, make, describe);
    } catch (error) {
      if (!(error instanceof TtrpcError) || signal.aborted) throw error;
      call(method, performance.now() - start, describeError(error));
      failures.push(error);
    }
  };
  await attempt(
    "connect",
    async () => task.connect({ id }, options),
    ({ shimPid, taskPid, version: shown }) =>
      `shim pid ${shimPid}, task pid ${taskPid}${shown && `, version ${shown}`}`,
  );
  await attempt(
    "state",
    async () => task.state({ id }, options),
    ({ status, pid, bundle }) => `${v3.Status[status] ?? status}, pid ${pid}, bundle ${bundle}`,
  );
  await attempt(
    "pids",
    async () => task.pids({ id }, options),
    ({ processes }) => processes.map(({ pid }) => pid).join(", ") || "none",
  );
  if (failures.length === 0) return true;
  if (failures.every(lacksService)) {
    const advice = version === undefined ? "" : " Leave --task out to use the version that it has.";
    console.log(`\nThis shim has no such service.${advice}`);
  } else if (id === "") {
    console.log("\nName a container with --id.");
  }
  return false;
}

async function open(address: string, signal: AbortSignal): Promise<Connection> {
  try {
    return await connect(address, { connectTimeoutMs: 5000, signal });
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(`--address: ${error.message}`);
    throw error;
  }
}

/** The client of the version that was asked for, or of the newest that the shim has. */
async function choose(
  connection: Connection,
  id: string,
  version: "v2" | "v3" | undefined,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<{ task: TaskClient; speaks: string }> {
  const newest = createClient(v3.Task, connection);
  const older = createClient(v2.Task, connection);
  if (version === "v3") return { task: newest, speaks: v3.Task.typeName };
  if (version === "v2") return { task: older, speaks: v2.Task.typeName };
  try {
    await newest.connect({ id }, options);
  } catch (error) {
    if (lacksService(error)) return { task: older, speaks: v2.Task.typeName };
    // Any other error comes from the service itself; the calls that follow will show it.
    if (!(error instanceof TtrpcError) || options.signal.aborted) throw error;
  }
  return { task: newest, speaks: v3.Task.typeName };
}

/** Whether an error says that the peer does not have the service. */
function lacksService(error: unknown): boolean {
  return error instanceof TtrpcError && error.code === Code.Unimplemented;
}

/**
 * Shows a live table of tasks, made from their events: `npx tsx examples/events/table.ts [--listen ADDRESS] [--containerd ADDRESS]`.
 */

import { isMessage } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { TaskCreateSchema, TaskExitSchema, TaskStartSchema } from "containerd-shim-protos/events";
import { eventsFromArguments } from "./address.js";

interface Row {
  namespace: string;
  pid?: number;
  last: string;
  at: string;
  status?: number;
}

const rows = new Map<string, Row>();

for await (const { namespace, topic, timestamp, message } of eventsFromArguments({ topics: ["/tasks/"] })) {
  const { containerId } = (message ?? {}) as { containerId?: string };
  if (containerId === undefined) continue;
  const row = {
    ...rows.get(containerId),
    namespace,
    last: topic,
    at: timestampDate(timestamp).toISOString(),
  };
  if (isMessage(message, TaskCreateSchema) || isMessage(message, TaskStartSchema)) row.pid = message.pid;
  // The id of an exec differs from the container's.
  if (isMessage(message, TaskExitSchema) && message.id === containerId) row.status = message.exitStatus;
  rows.set(containerId, row);
  if (process.stdout.isTTY) console.clear();
  console.table(Object.fromEntries(rows));
}

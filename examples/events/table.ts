/**
 * Shows a live table of tasks, made from their events: `npx tsx examples/events/table.ts [--listen ADDRESS] [--containerd ADDRESS]`.
 */

import { isMessage } from "@bufbuild/protobuf";
import {
  TaskCreateSchema,
  TaskDeleteSchema,
  TaskExitSchema,
  TaskStartSchema,
} from "containerd-shim-protos/events";
import { eventsFromArguments } from "./address.js";
import { eventMs } from "./time.js";

interface Row {
  namespace: string;
  pid?: number;
  last: string;
  at: string;
  status?: number;
}

/** By namespace and id, because several namespaces may have an id. */
const rows = new Map<string, Row>();
/** Rows that are kept at most; the one that changed least recently goes first. */
const MOST_ROWS = 1000;

for await (const { namespace, topic, timestamp, message } of eventsFromArguments({ topics: ["/tasks/"] })) {
  const { containerId } = (message ?? {}) as { containerId?: string };
  if (containerId === undefined) continue;
  const key = `${namespace}/${containerId}`;
  const row: Row = {
    ...rows.get(key),
    namespace,
    last: topic,
    at: new Date(eventMs(timestamp)).toISOString(),
  };
  if (isMessage(message, TaskCreateSchema) || isMessage(message, TaskStartSchema)) row.pid = message.pid;
  // The id of an exec differs from the container's.
  if (isMessage(message, TaskExitSchema) && message.id === containerId) row.status = message.exitStatus;
  rows.delete(key);
  // An exec is deleted, too, but under an id of its own.
  const isGone = isMessage(message, TaskDeleteSchema) && (message.id === "" || message.id === containerId);
  if (!isGone) rows.set(key, row);
  const [oldest] = rows.keys();
  if (rows.size > MOST_ROWS && oldest !== undefined) rows.delete(oldest);
  if (process.stdout.isTTY) console.clear();
  console.table(Object.fromEntries(rows));
}

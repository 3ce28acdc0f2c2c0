import { GAP_TOPIC, type Shown } from "./record.js";

interface Row {
  host: string;
  namespace: string;
  container: string;
  pid?: number;
  last: string;
  at: string;
  exit?: number;
}

/** Rows that are kept at most; the one that changed least recently goes first. */
const MOST_ROWS = 1000;

/** What went wrong in an event, if anything did: a task was killed for memory or failed, or events are missing. */
export function alertOf({ host, namespace, topic, message }: Shown): string | undefined {
  const where = `${host} ${namespace}/${String(message["containerId"])}`;
  if (topic === "/tasks/oom") return `${where} is out of memory`;
  if (topic === GAP_TOPIC) return `${host} may miss events ${String(message["value"])}`;
  const { exitStatus, id, containerId } = message;
  if (topic !== "/tasks/exit" || exitStatus === 0) return undefined;
  return `${where} ended with ${String(exitStatus)}${id === containerId ? "" : ` in ${String(id)}`}`;
}

/** A text without the characters that a terminal acts on: anybody on a host may have sent it. */
export function printable(text: string): string {
  return text.replaceAll(/\p{Cc}/gu, "\u{fffd}");
}

/** A live table of tasks over all hosts, and the last alerts below it. */
export class Table {
  readonly #rows = new Map<string, Row>();
  readonly #alerts: string[] = [];
  #drawing = false;

  add(shown: Shown): void {
    const { host, namespace, topic, at, message } = shown;
    const alert = alertOf(shown);
    if (alert !== undefined) this.#alerts.push(`${at} ${alert}`);
    this.#alerts.splice(0, this.#alerts.length - 10);
    const { containerId: container, id, pid, exitStatus } = message;
    if (typeof container === "string") {
      const key = `${host} ${namespace} ${container}`;
      const row: Row = { ...this.#rows.get(key), host, namespace, container, last: topic, at };
      // An exec has an id of its own: its exit's `id` is not the container's, and its start's is called `execId`.
      const isExec = (Boolean(id) && id !== container) || Boolean(message["execId"]);
      if (topic === "/tasks/start") delete row.exit;
      if (typeof pid === "number" && !isExec) row.pid = pid;
      if (typeof exitStatus === "number" && !isExec) row.exit = exitStatus;
      this.#rows.delete(key);
      this.#rows.set(key, row);
      const [oldest] = this.#rows.keys();
      if (this.#rows.size > MOST_ROWS && oldest !== undefined) this.#rows.delete(oldest);
    }
    if (this.#drawing) return;
    // A burst of events is drawn once.
    this.#drawing = true;
    setTimeout(() => this.#draw(), 100);
  }

  #draw(): void {
    this.#drawing = false;
    if (process.stdout.isTTY) console.clear();
    console.table([...this.#rows.values()].slice(-40));
    for (const alert of this.#alerts) console.log(printable(`! ${alert}`));
  }
}

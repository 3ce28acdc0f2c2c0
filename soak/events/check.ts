import { crc32 } from "node:zlib";
import { isMessage, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { TaskExitSchema } from "containerd-shim-protos/events";

/** An event with its publisher, its number in the publisher's sequence, and a checksum of both. */
export function exitOf(publisher: number, sequence: number): MessageInitShape<typeof TaskExitSchema> {
  const containerId = `soak-${publisher}`;
  return {
    containerId,
    id: `${containerId}-${sequence}`,
    pid: checksum(publisher, sequence),
    exitStatus: sequence,
  };
}

function checksum(publisher: number, sequence: number): number {
  return crc32(`${publisher}:${sequence}`);
}

/** The sum of the checksums of all events of these publishers. */
export function sumOf(publishers: number, count: number): bigint {
  let sum = 0n;
  for (let publisher = 0; publisher < publishers; publisher++) {
    for (let sequence = 0; sequence < count; sequence++) sum += BigInt(checksum(publisher, sequence));
  }
  return sum;
}

/** Checks that each publisher's events arrive in order, exactly once, and unchanged. */
export class Check {
  readonly #next = new Map<string, number>();
  /** The first few failures. */
  readonly failures: string[] = [];
  events = 0;
  sum = 0n;

  add(message: Message | undefined): void {
    if (!isMessage(message, TaskExitSchema)) {
      this.#fail("an event is not a TaskExit");
      return;
    }
    const { containerId, id, pid, exitStatus } = message;
    const expected = this.#next.get(containerId) ?? 0;
    if (exitStatus !== expected) this.#fail(`${containerId}: ${exitStatus} came instead of ${expected}`);
    const publisher = Number(containerId.slice("soak-".length));
    if (id !== `${containerId}-${exitStatus}` || pid !== checksum(publisher, exitStatus)) {
      this.#fail(`${id} is not as it was sent`);
    }
    this.#next.set(containerId, exitStatus + 1);
    this.events++;
    this.sum += BigInt(pid);
  }

  #fail(what: string): void {
    if (this.failures.length < 20) this.failures.push(what);
  }
}

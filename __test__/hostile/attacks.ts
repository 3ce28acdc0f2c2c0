/** What hostile clients do to a server. */

import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeFrame, encodeRequest, FrameType, type RequestEnvelope } from "../helpers/wire.js";

const MIB = 1 << 20;
const SERVICE = "test.Hostile";
const OPEN = 2 | 4;

/** One way to attack the server at a path. The server need not read what is sent. */
export interface Attack {
  /** In words, to follow "a client that …". */
  readonly what: string;
  readonly connections: number;
  /** Milliseconds for which handlers hold all that the server may hold, so that a good client is refused. */
  readonly lasts?: number;
  /** The target is a sink of events. */
  readonly onSink?: true;
  run(sockets: readonly Socket[], path: string): Promise<void> | void;
}

/** A protobuf varint. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return Buffer.from([...bytes, rest]);
}

/** A field of bytes. */
export function field(number: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint(number * 8 + 2), varint(value.length), value]);
}

function header(length: number, streamId: number, type: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(10);
  bytes.writeUInt32BE(length, 0);
  bytes.writeUInt32BE(streamId, 4);
  bytes.set([type, flags], 8);
  return bytes;
}

function request(
  streamId: number,
  method: string,
  {
    flags = 0,
    extra = Buffer.alloc(0),
    ...envelope
  }: Partial<RequestEnvelope> & { flags?: number; extra?: Buffer } = {},
): Buffer {
  const body = Buffer.concat([encodeRequest({ service: SERVICE, method, ...envelope }), extra]);
  return encodeFrame({ streamId, type: FrameType.Request, flags, body });
}

/** `count` requests, one after the other. */
function requests(count: number, make: (streamId: number) => Buffer): Buffer {
  return Buffer.concat(Array.from({ length: count }, (_, index) => make(2 * index + 1)));
}

/** Writes to all sockets, and again once all have taken that. Gives up when a write takes too long. */
async function writeToAll(
  sockets: readonly Socket[],
  times: number,
  make: (index: number) => Buffer,
): Promise<void> {
  for (let index = 0; index < times; index++) {
    const frame = make(index);
    const taken = Promise.all(
      sockets.map((socket) => new Promise<void>((resolve) => socket.write(frame, () => resolve()))),
    );
    if (!(await Promise.race([taken.then(() => true), sleep(2000).then(() => false)]))) return;
  }
}

const BODY = Buffer.alloc(4 * MIB - 300, 97);
/** A long sequence of fields that no envelope has. */
const UNKNOWN = Buffer.concat(
  Array.from({ length: 800_000 }, (_, index) => Buffer.concat([varint((index + 16) * 8), Buffer.from([1])])),
);
const METADATA_ENTRIES = Buffer.alloc(4 * MIB - 300, Buffer.from([0x2a, 0]));
const LONG_METADATA = [["k", BODY.toString("latin1").slice(0, 4 * MIB - 400)]] as const;

const onAll = (make: () => Buffer) => (sockets: readonly Socket[]) => {
  const bytes = make();
  for (const socket of sockets) socket.write(bytes);
};

/** Two bytes that become an empty Mount of a CreateTaskRequest. */
const EMPTY_MOUNTS = Buffer.from([0x1a, 0]);
/** Two bytes that are a field of no message of these: number 15. */
const UNKNOWN_FIELDS = Buffer.from([0x78, 0]);

/** A request to a typed service: `part`, again and again. */
function task(streamId: number, method: string, part: Buffer, size: number): Buffer {
  const payload = Buffer.alloc(size - (size % part.length), part);
  return request(streamId, method, { service: "containerd.task.v3.Task", payload });
}

/** An event, as a publisher sends it. Its message is a text, or `part` again and again. */
function event(size: number, part?: Buffer): Buffer {
  const message = part === undefined ? field(1, Buffer.alloc(size, 97)) : Buffer.alloc(size, part);
  const any = Buffer.concat([field(1, Buffer.from("containerd.events.TaskStart")), field(2, message)]);
  const envelope = Buffer.concat([
    field(1, Buffer.from([8, 0x80, 0xe2, 0xcf, 0xaa, 6])),
    field(2, Buffer.from("namespace")),
    field(3, Buffer.from("/tasks/start")),
    field(4, any),
  ]);
  const service = "containerd.services.events.ttrpc.v1.Events";
  const body = encodeRequest({ service, method: "Forward", payload: field(1, envelope) });
  return encodeFrame({ streamId: 1, type: FrameType.Request, body });
}

export const attacks = {
  headers: {
    what: "announces 4 MiB on each of a thousand connections, and sends no more",
    connections: 1000,
    run: onAll(() => header(4 * MIB, 1, FrameType.Request)),
  },
  halves: {
    what: "sends half of a frame of 4 MiB on each of two hundred connections",
    connections: 200,
    run: (sockets) =>
      writeToAll(sockets, 8, (index) =>
        index === 0
          ? Buffer.concat([header(4 * MIB, 1, FrameType.Request), BODY.subarray(0, MIB / 4)])
          : BODY.subarray(0, MIB / 4),
      ),
  },
  rests: {
    what: "sends 300 KB and the first byte of another header on each of a thousand connections",
    connections: 1000,
    async run(sockets) {
      await writeToAll(sockets, 1, () =>
        encodeFrame({ streamId: 1, type: 9 as 1, body: BODY.subarray(0, 300_000) }),
      );
      await writeToAll(sockets, 1, () => Buffer.from([0]));
    },
  },
  unread: {
    what: "reads none of four thousand large replies",
    connections: 1,
    run: onAll(() => requests(4000, (id) => request(id, "Large"))),
  },
  unreadPromises: {
    what: "reads none of twenty thousand large replies, each made a tick later, on fifty connections",
    connections: 50,
    run: onAll(() => requests(400, (id) => request(id, "LargeLater"))),
  },
  unreadOnes: {
    what: "does not read the only large reply on each of a thousand connections",
    connections: 1000,
    run: onAll(() => request(1, "Large")),
  },
  unreadStreams: {
    what: "reads nothing of five hundred endless streams on ten connections",
    connections: 10,
    run: onAll(() => requests(50, (id) => request(id, "Endless", { flags: 1 }))),
  },
  untaken: {
    what: "sends 8 MiB to a stream that reads nothing, on each of a hundred connections",
    connections: 100,
    async run(sockets) {
      await writeToAll(sockets, 1, () => request(1, "Untaken", { flags: OPEN }));
      const message = encodeFrame({ streamId: 1, type: FrameType.Data, body: BODY.subarray(0, MIB / 4) });
      await writeToAll(sockets, 32, () => message);
    },
  },
  untakenAtOnce: {
    what: "opens eight thousand streams that read nothing, with a message in each request",
    connections: 100,
    run: onAll(() =>
      requests(80, (id) =>
        Buffer.concat([
          request(id, "Untaken", { flags: OPEN }),
          encodeFrame({ streamId: id, type: FrameType.Data, body: BODY.subarray(0, 40_000) }),
        ]),
      ),
    ),
  },
  untakenBetween: {
    what: "sends a byte to a stream that reads nothing after each 16 KiB for a stream that reads all",
    connections: 1,
    async run(sockets) {
      const open = Buffer.concat([
        request(1, "Untaken", { flags: OPEN }),
        request(3, "Taken", { flags: OPEN }),
      ]);
      await writeToAll(sockets, 1, () => open);
      const data = (streamId: number, size: number) =>
        encodeFrame({ streamId, type: FrameType.Data, body: BODY.subarray(0, size) });
      const between = Buffer.concat([data(1, 1), ...Array.from({ length: 4 }, () => data(3, 4000))]);
      const many = Buffer.concat(Array.from({ length: 100 }, () => between));
      await writeToAll(sockets, 200, () => many);
    },
  },
  handledBetween: {
    what: "keeps ten thousand handlers busy with a byte each, and sends 16 KiB to others in between",
    connections: 1,
    async run(sockets) {
      const between = (first: number) =>
        Buffer.concat([
          request(first, "Block", { payload: BODY.subarray(0, 1) }),
          ...Array.from({ length: 4 }, (_, index) =>
            request(first + 2 + 2 * index, "Empty", { payload: BODY.subarray(0, 4000) }),
          ),
        ]);
      await writeToAll(sockets, 100, (part) =>
        Buffer.concat(Array.from({ length: 99 }, (_, index) => between(10 * (99 * part + index) + 1))),
      );
    },
  },
  entries: {
    what: "sends twenty requests with two million entries of metadata each",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 20, (index) =>
        request(2 * index + 1, "Untaken", { flags: OPEN, extra: METADATA_ENTRIES }),
      ),
  },
  unknown: {
    what: "opens twenty streams with eight hundred thousand unknown fields each",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 20, (index) => request(2 * index + 1, "Untaken", { flags: OPEN, extra: UNKNOWN })),
  },
  misplaced: {
    what: "opens sixty streams with 4 MiB of data each, and flags that say there is none",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 60, (index) => request(2 * index + 1, "Untaken", { flags: OPEN, payload: BODY })),
  },
  metadata: {
    what: "opens sixty streams with 4 MiB of metadata each",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 60, (index) =>
        request(2 * index + 1, "Untaken", { flags: OPEN, metadata: LONG_METADATA }),
      ),
  },
  handled: {
    what: "keeps handlers busy with sixty requests of 4 MiB",
    connections: 1,
    run: (sockets) => writeToAll(sockets, 60, (index) => request(2 * index + 1, "Block", { payload: BODY })),
  },
  expired: {
    what: "sends four hundred requests of 1 MiB whose handlers ignore their deadlines",
    connections: 1,
    lasts: 2500,
    run: (sockets) =>
      writeToAll(sockets, 400, (index) =>
        request(2 * index + 1, "Stubborn", { payload: BODY.subarray(0, MIB), timeoutNano: 1_000_000n }),
      ),
  },
  expiredUnseen: {
    what: "sends requests of 1 MiB whose deadlines pass while JavaScript is busy",
    connections: 2,
    async run([first, ...sockets]) {
      first?.write(request(1, "Busy", { payload: Buffer.from("800") }));
      await sleep(50);
      await writeToAll(sockets, 200, (index) =>
        request(2 * index + 1, "Echo", { payload: BODY.subarray(0, MIB), timeoutNano: 1n }),
      );
    },
  },
  comings: {
    what: "connects and leaves five thousand times while JavaScript is busy",
    connections: 1,
    async run([first], path) {
      first?.write(request(1, "Busy", { payload: Buffer.from("1500") }));
      await sleep(50);
      for (let index = 0; index < 5000; index++) {
        const socket = connect(path);
        // The kernel refuses connections while the backlog is full.
        socket.on("error", () => undefined);
        socket.once("connect", () => socket.destroy());
        if (index % 100 === 0) await sleep(1);
      }
    },
  },
  parts: {
    what: "sends ten requests of 4 MiB that are two million empty messages each",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 10, (index) => task(2 * index + 1, "Create", EMPTY_MOUNTS, 4 * MIB - 300)),
  },
  unknownParts: {
    what: "sends ten requests of 4 MiB that are two million unknown fields each",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 10, (index) => task(2 * index + 1, "State", UNKNOWN_FIELDS, 4 * MIB - 300)),
  },
  handledParts: {
    what: "keeps handlers busy with a thousand requests of four thousand unknown fields each",
    connections: 1,
    run: (sockets) =>
      writeToAll(sockets, 10, (part) =>
        Buffer.concat(
          Array.from({ length: 100 }, (_, index) =>
            task(200 * part + 2 * index + 1, "Create", UNKNOWN_FIELDS, 8000),
          ),
        ),
      ),
  },
  gone: {
    what: "leaves four hundred requests of 1 MiB to handlers that keep running without it",
    connections: 0,
    lasts: 2500,
    async run(_, path) {
      for (let index = 0; index < 400; index++) {
        const socket = connect(path);
        socket.on("error", () => undefined);
        await new Promise<void>((resolve) =>
          socket.write(request(1, "Stubborn", { payload: BODY.subarray(0, MIB) }), () => resolve()),
        );
        await sleep(2);
        socket.destroy();
      }
    },
  },
  eventsParts: {
    what: "publishes an event of ten thousand unknown fields on each of five hundred connections to a full sink",
    connections: 500,
    onSink: true,
    run: onAll(() => event(20_000, UNKNOWN_FIELDS)),
  },
  heldBack: {
    what: "publishes large events on each of five hundred connections to a full sink",
    connections: 500,
    onSink: true,
    run: onAll(() => event(400_000)),
  },
} as const satisfies Record<string, Attack>;

export type AttackName = keyof typeof attacks;

import type { AttackName } from "./attacks.js";

const MIB = 1 << 20;

/** `maxQueuedBytes` of a server, if it is left out. */
const QUEUED = 64 * MIB;

/** A row of the table "What bounds memory" in docs/design.md, and its tests. */
export interface Row {
  readonly what: string;
  readonly limit: string;
  readonly beyond: string;
  /** The default limit in bytes, besides 64 KiB for each connection. */
  readonly bytes?: number;
  /**
   * Bytes of garbage that the handlers make, and that V8 has not collected: more on a busier machine, but not more when
   * four times as much is sent.
   */
  readonly garbage?: number;
  /** The attacks on a server, or on a sink of events, that test the row. */
  readonly attacks?: readonly AttackName[];
  /** The test of the row, if it is not an attack: a file, and the name of a test in it. */
  readonly shown?: readonly [file: string, test: string];
}

/** The table, in its order. */
export const rows: readonly Row[] = [
  {
    what: "requests whose handlers have not ended",
    limit: "`maxConcurrentCalls`; with their metadata `maxQueuedBytes`",
    beyond: "`ResourceExhausted`",
    bytes: QUEUED,
    attacks: ["handled", "handledBetween", "metadata", "misplaced", "expired", "gone"],
  },
  {
    what: "memory of the objects of typed requests, until their handlers have ended",
    limit: "64 MiB a message; `maxQueuedBytes`, but at least 4 MiB, for a server",
    beyond: "`ResourceExhausted`",
    bytes: QUEUED,
    garbage: 256 * MIB,
    attacks: ["parts", "unknownParts", "handledParts"],
  },
  {
    what: "memory of the objects of an event in a sink",
    limit: "4 KiB, and four times its bytes",
    beyond:
      "the event's message is decoded only when the event is taken; for an envelope, `ResourceExhausted`",
    bytes: 8 * MIB,
    attacks: ["eventsParts"],
  },
  {
    what: "events in a sink",
    limit: "`maxQueuedEvents`, `maxQueuedBytes`",
    beyond: "what `whenFull` says; by default, no connection of the sink is read",
    bytes: 4 * MIB,
    attacks: ["heldBack"],
  },
  {
    what: "frames that are not whole, or have to wait",
    limit: "32 KiB a connection; beyond, ¼ of `maxQueuedBytes` for a listener",
    beyond:
      "the next large frame waits for room for all of it; a peer whose frame has room and does not come within 5 s is closed",
    bytes: QUEUED / 4,
    attacks: ["headers", "halves", "rests"],
  },
  {
    what: "messages of streams that were not taken",
    limit: "16 KiB a connection; beyond, 4 MiB each, and ¼ of `maxQueuedBytes` for a listener",
    beyond: "the connection is not read, its other calls included",
    bytes: QUEUED / 4,
    attacks: ["untaken", "untakenAtOnce", "untakenBetween"],
  },
  {
    what: "replies, and messages to peers, that wait for the socket",
    limit: "16 KiB a connection; beyond, 8 MiB each, and ½ of `maxQueuedBytes` for a listener",
    beyond: "no handler starts; a peer that takes nothing for 1 s while others wait is closed",
    // Handlers that have started at once may reply with 1 MiB each before the next ones are held back.
    bytes: QUEUED / 2 + 32 * MIB,
    garbage: 128 * MIB,
    attacks: ["unread", "unreadPromises", "unreadOnes", "unreadStreams"],
  },
  {
    what: "entries of metadata of a request, details of a status",
    limit: "1 024",
    beyond: "`ResourceExhausted`; at the caller a `TypeError`; a handler's further details are left out",
    bytes: 0,
    attacks: ["entries"],
  },
  {
    what: "fields of an envelope that ttrpc does not know, or that come twice",
    limit: "64",
    beyond: "`ResourceExhausted`",
    bytes: 0,
    attacks: ["unknown"],
  },
  {
    what: "requests that JavaScript gets at once, on one thread",
    limit: "32, and 16 MiB of frames",
    beyond: "the next ones wait until it has taken these",
    bytes: 16 * MIB,
    attacks: ["expiredUnseen"],
  },
  {
    what: "accepted connections of which JavaScript has not been told, on one thread",
    limit: "1 024",
    beyond: "no more are accepted until it has taken these; they wait in the kernel's backlog",
    bytes: 0,
    attacks: ["comings"],
    shown: [
      "crate/engine/tests.rs",
      "connections_that_come_and_go_are_not_accepted_while_too_many_wait_to_be_told_of",
    ],
  },
  {
    what: "bytes of a connection's calls and streams that wait for the socket",
    limit: "1 MiB",
    beyond: "its calls wait their turn, its streams stop sending",
    shown: ["crate/engine/tests.rs", "calls_behind_a_full_socket_start_when_the_peer_reads_and_none_is_lost"],
  },
  {
    what: "calls that wait their turn, on one connection",
    limit: "64 MiB",
    beyond: "`ResourceExhausted`",
    shown: ["__test__/both-drivers/semantics/memory.test.ts", "makes calls wait, up to 64 MiB"],
  },
  {
    what: "messages that a stream sends ahead",
    limit: "1 MiB",
    beyond: "the request iterable, or the handler's generator, is not asked for more",
    shown: ["__test__/both-drivers/streams/backpressure.test.ts", "makes our handler's generator wait"],
  },
  {
    what: "bytes read from one socket in one turn",
    limit: "256 KiB, or as much of a payload as has arrived; by a server, half of what waits",
    beyond: "the rest follows in the next turn",
    shown: ["__test__/both-drivers/streams/event-loop.test.ts", ""],
  },
  {
    what: "payloads that wait outside of their batch",
    limit: "256 KiB",
    beyond: "the batch leaves with the next call",
    shown: ["__test__/both-drivers/large-payloads.test.ts", "does not pile up in memory"],
  },
  {
    what: "live payloads that V8 does not count",
    limit: "64 MiB",
    beyond: "V8 counts the others, and collects as usual",
    shown: ["crate/bridge/given.rs", "what_is_kept_from_the_count_is_covered_at_any_time"],
  },
  {
    what: "memory that kept payloads below 4 KiB hold besides their own bytes",
    limit: "16 MiB each for requests, for events, and for messages of streams",
    beyond: "the next ones get memory of their own",
    shown: ["__test__/both-drivers/kept-payloads.test.ts", "do not keep those in between"],
  },
  {
    what: "connections accepted in one turn",
    limit: "64",
    beyond: "the rest follows in the next turn",
    shown: ["__test__/both-drivers/limits.test.ts", "closes a connection above maxConnections"],
  },
  {
    what: 'batches that wait for `driver: "thread"`',
    limit: "64 MiB",
    beyond: "the JavaScript thread waits until the other thread has taken some",
    shown: ["crate/io_thread/tests.rs", "payloads_beyond_what_may_wait_wake_the_thread_that_takes_them"],
  },
  {
    what: "calls, or requests, under way on one thread",
    limit: "1 048 575",
    beyond: "`ResourceExhausted`",
    shown: ["src/native/bridge.ts", "a million calls are in flight"],
  },
];

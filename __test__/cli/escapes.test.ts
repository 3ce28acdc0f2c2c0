import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  Code,
  connect,
  type Connection,
  createServer,
  type Server,
  TtrpcError,
} from "containerd-shim-protos";
import { ForwardRequestSchema } from "containerd-shim-protos/events";
import { StateResponseSchema, StatsResponseSchema } from "containerd-shim-protos/task/v3";
import * as fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { RawServer } from "../helpers/raw-peer.js";
import { temporaryAddress } from "../helpers/temp.js";
import { encodeFrame, encodeResponse } from "../helpers/wire.js";
import { expectPlain, hostileName, hostileText } from "./hostile.js";
import { proxyTo, shown } from "./proxied.js";
import { type Outcome, shimctl, Shimctl } from "./shimctl.js";
import { bootstrap, State } from "./state.js";

const TASK = "containerd.task.v3.Task";
const EVENTS = "containerd.services.events.ttrpc.v1.Events";
const texts = fc.array(hostileText, { minLength: 12, maxLength: 12 });
/** Processes are slow, so each gets many texts. */
const RUNS = { numRuns: 3, endOnFailure: true };
/** A pipe without styles, and one for which they are requested. */
const MODES = [{ FORCE_COLOR: "0" }, { FORCE_COLOR: "1" }] as const;

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close({ graceMs: 0 });
});

/** A task service that answers with the next texts. */
async function hostileShim(all: readonly string[]): Promise<string> {
  let next = 0;
  const text = () => all[next++ % all.length]!;
  const fails = (): never => {
    const detail = create(AnySchema, { typeUrl: text(), value: Buffer.from(text()) });
    throw new TtrpcError(text(), Code.NotFound, { details: [detail] });
  };
  const server = createServer();
  server.addRaw(TASK, {
    State: {
      kind: "unary",
      handle: () =>
        toBinary(StateResponseSchema, create(StateResponseSchema, { id: text(), bundle: text() })),
    },
    Stats: {
      kind: "unary",
      handle: () =>
        toBinary(
          StatsResponseSchema,
          create(StatsResponseSchema, { stats: { typeUrl: `x/${text()}`, value: new Uint8Array() } }),
        ),
    },
    Connect: { kind: "unary", handle: () => new Uint8Array() },
    Kill: { kind: "unary", handle: fails },
  });
  servers.push(server);
  return server.listen(temporaryAddress());
}

function expectOutcome({ stdout, stderr }: Outcome, env: (typeof MODES)[number]): void {
  expectPlain(stdout, { styles: env.FORCE_COLOR === "1" });
  expectPlain(stderr, { styles: env.FORCE_COLOR === "1" });
}

describe("no control character of a peer reaches a terminal", { timeout: 60_000 }, () => {
  it.each(MODES)("in what call prints of replies, errors and details, with %j", async (env) => {
    await fc.assert(
      fc.asyncProperty(texts, async (all) => {
        const address = await hostileShim(all);
        const state = await shimctl(["call", address, `${TASK}/State`, "{}"], { env });
        expectOutcome(state, env);
        expect(state.stdout.trimEnd().split("\n")).toHaveLength(1);
        const killed = await shimctl(["call", address, `${TASK}/Kill`, "{}"], { env });
        expectOutcome(killed, env);
        // The status, and a line for its detail.
        expect(killed).toMatchObject({ code: 1, stdout: "" });
        expect(killed.stderr.trimEnd().split("\n")).toHaveLength(2);
        if (env.FORCE_COLOR === "0") {
          expect(JSON.parse(state.stdout)).toEqual({ id: all[0], bundle: all[1] });
        }
      }),
      RUNS,
    );
  });

  it.each(MODES)("in what stats prints of an unusable answer, with %j", async (env) => {
    await fc.assert(
      fc.asyncProperty(texts, async (all) => {
        const outcome = await shimctl(["stats", await hostileShim(all), "web"], { env });
        expectOutcome(outcome, env);
        expect(outcome.stderr).toContain("for the metrics of web");
        expect(outcome.stderr.trimEnd().split("\n")).toHaveLength(1);
      }),
      RUNS,
    );
  });

  it.each(MODES)("in what ls prints of names, files and answers, with %j", async (env) => {
    await fc.assert(
      fc.asyncProperty(
        texts,
        fc.uniqueArray(hostileName, { minLength: 3, maxLength: 3 }),
        async (all, names) => {
          const state = new State();
          const [namespace = "", id = "", socket = ""] = names;
          state.bundle(namespace, id, bootstrap(`unix:///${all[0]}`));
          state.bundle(namespace, `${id}2`, bootstrap("unix:///x", 3, all[1]));
          state.bundle(namespace, `${id}3`, { address: all[2]!.replaceAll("\0", "") });
          state.bundle(namespace, `${id}4`, { "bootstrap.json": `{${all[3]}` });
          state.bundle(namespace, `${id}5`, {
            "bootstrap.json": '{"address":"/x","protocol":{"toString":1}}',
          });
          mkdirSync(path.join(state.sockets, socket));
          const outcome = await shimctl(["ls", ...state.options], { env });
          expectOutcome(outcome, env);
          expect(outcome.code).toBe(0);
          expect(outcome.stdout.trimEnd().split("\n")).toHaveLength(7);
          const json = await shimctl(["ls", "--json", ...state.options], { env: { FORCE_COLOR: "0" } });
          expectPlain(json.stdout);
          const ids = (JSON.parse(json.stdout) as { id: string | null }[]).map((shim) => shim.id);
          expect(ids.toSorted()).toEqual([`${id}2`, `${id}3`, `${id}4`, `${id}5`, id, null].toSorted());
        },
      ),
      RUNS,
    );
  });

  it.each([...MODES.map((env) => [env, []] as const), [MODES[0], ["--json"]] as const])(
    "in what events prints, one event a line, with %j %j",
    async (env, options) => {
      await fc.assert(
        fc.asyncProperty(texts, async (all) => {
          const address = temporaryAddress();
          await using child = new Shimctl(["events", address, ...options], { env });
          await child.says("listening on");
          const events = all.map((text, index) => ({
            // The server refuses any but plain letters here.
            namespace: "default",
            topic: "/tasks/x",
            timestamp: { seconds: BigInt(index + 1) },
            event: {
              typeUrl: index % 2 === 0 ? `x/${text}` : text,
              value: Buffer.from(JSON.stringify([text])),
            },
          }));
          await using connection = await connect(address);
          for (const envelope of events) await forward(connection, envelope);
          await child.says(new RegExp(`(?:.*\n){${events.length}}`));
          child.kill("SIGTERM");
          const outcome = await child.outcome();
          expectOutcome(outcome, env);
          const lines = outcome.stdout.trimEnd().split("\n");
          expect(lines).toHaveLength(events.length);
          if (options.length === 0) return;
          for (const [index, line] of lines.entries()) {
            const { namespace, topic, event } = events[index]!;
            const value = JSON.parse(Buffer.from(event.value).toString()) as unknown;
            expect(JSON.parse(line)).toMatchObject({
              namespace,
              topic,
              event: { "@type": event.typeUrl, value },
            });
          }
        }),
        RUNS,
      );
    },
  );

  it.each([...MODES.map((env) => [env, []] as const), [MODES[0], ["--json"]] as const])(
    "in what proxy prints, one frame a line, with %j %j",
    async (env, options) => {
      await fc.assert(
        fc.asyncProperty(texts, async (all) => {
          await using server = await RawServer.listen();
          await using proxy = await proxyTo(server.address, ...options);
          await using own = await RawServer.listen();
          expect(own.address).not.toBe(server.address);
          const first = await server.accept();
          first.end();
          await using connection = await connect(proxy.address);
          const peer = await server.accept();
          for (const [index, text] of all.entries()) {
            const call = connection.unary(`s.${text}`, text, new Uint8Array([1]), {
              metadata: { [`k${text}`.toLowerCase()]: [text] },
            });
            const { streamId } = await peer.nextRequest();
            const status = { code: 5, message: text, details: [] };
            await peer.send(encodeFrame({ streamId, type: 2, body: encodeResponse({ status }) }));
            await expect(call, String(index)).rejects.toMatchObject({ code: 5 });
          }
          await proxy.says(new RegExp(`(?:.*\n){${all.length * 2 + 1}}`));
          proxy.kill("SIGTERM");
          const outcome = await proxy.outcome();
          expectOutcome(outcome, env);
          if (options.length > 0) {
            const statuses = shown(outcome.stdout).flatMap(({ status }) => status ?? []);
            expect(statuses.map((status) => (status as { message: string }).message)).toEqual(all);
          }
        }),
        RUNS,
      );
    },
  );

  it.each(MODES)("in what describe and errors about words print, with %j", async (env) => {
    await fc.assert(
      fc.asyncProperty(texts, async (all) => {
        const word = all.join("").replaceAll("\0", "");
        expectOutcome(await shimctl(["describe", word], { env }), env);
        expectOutcome(await shimctl(["call", `/tmp/${word}`, "a.B/C", "--raw"], { env }), env);
        expectOutcome(await shimctl(["call", "/x", `v3.Task/${word}`], { env }), env);
        expectOutcome(await shimctl(["call", "/x", "v3.Task/State", word], { env }), env);
        expectOutcome(await shimctl(["bench", `/tmp/${word}`, "v3.Task/State"], { env }), env);
        expectOutcome(await shimctl([`x${word}`], { env }), env);
        const file = `${temporaryAddress().slice("unix://".length)}.proto`;
        writeFileSync(file, `syntax = "proto3"; message A { ${word} }`);
        expectOutcome(await shimctl(["describe", "--proto", file], { env }), env);
      }),
      { numRuns: 1 },
    );
  });
});

function forward(connection: Connection, envelope: object): Promise<Uint8Array> {
  const request = create(ForwardRequestSchema, { envelope });
  return connection.unary(EVENTS, "Forward", toBinary(ForwardRequestSchema, request));
}

describe("the source of shimctl", () => {
  it("has one place that writes to stdout and stderr", () => {
    const folder = path.join(import.meta.dirname, "../../src/cli");
    const writers = readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .filter((name) => {
        const source = readFileSync(path.join(folder, name), "utf8");
        return /\bconsole\.|\bstd(?:out|err)\.write\b|\bstream\.write\b|writeSync\(|Text\.trusted\(/.test(
          source,
        );
      });
    // text.ts prints trusted words, and json.ts escapes what it writes.
    expect(writers.toSorted()).toEqual(["output/json.ts", "output/stdout.ts", "output/text.ts"]);
  });
});

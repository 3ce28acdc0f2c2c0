/** In which async context a program's code runs. */

import { AsyncLocalStorage } from "node:async_hooks";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { Code, connect, createServer } from "containerd-shim-protos";
import { expect, test } from "vitest";
import { collect } from "../helpers/iterables.js";
import { deferred, failure } from "../helpers/outcome.js";
import { temporaryAddress } from "../helpers/temp.js";

const NOTHING = new Uint8Array(0);
const store = new AsyncLocalStorage<string>();

test("a handler begins in no caller's context, however calls of this process and of others mix", async () => {
  const seen: (string | undefined)[] = [];
  const address = temporaryAddress();
  await using behind = createServer();
  behind.addRaw("test.Context", { Next: { kind: "unary", handle: (payload) => payload } });
  const next = temporaryAddress();
  await behind.listen(next);
  await using onward = await connect(next);
  await using server = createServer();
  server.addRaw("test.Context", {
    Do: {
      kind: "unary",
      async handle(payload) {
        seen.push(store.getStore());
        return store.run("a handler's", () => onward.unary("test.Context", "Next", payload));
      },
    },
    Enter: {
      kind: "unary",
      handle(payload) {
        seen.push(store.getStore());
        store.enterWith("another handler's");
        return payload;
      },
    },
    Stream: {
      kind: "bidi_streaming",
      async *handle(messages) {
        seen.push(store.getStore());
        yield* messages;
        seen.push(store.getStore());
      },
    },
  });
  await server.listen(address);
  await using connection = await connect(address);
  for (let round = 0; round < 20; round++) {
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.run(`call ${index}`, async () => {
          await connection.unary("test.Context", index % 2 === 0 ? "Do" : "Enter", NOTHING);
          await collect(connection.bidiStreaming("test.Context", "Stream", [NOTHING, NOTHING]));
          expect(store.getStore()).toBe(`call ${index}`);
        }),
      ),
    );
  }
  expect(seen).toHaveLength(20 * 20 * 3);
  expect(new Set(seen)).toEqual(new Set([undefined]));
});

test("whoever uses the package first does not lend its context to every handler", async () => {
  const program = `
    import { AsyncLocalStorage } from "node:async_hooks";
    import { Code, connect, createServer } from ${JSON.stringify(import.meta.resolve("containerd-shim-protos"))};
    const store = new AsyncLocalStorage();
    const address = ${JSON.stringify(temporaryAddress())};
    await store.run("the first", () => connect("unix:///nowhere").catch(() => undefined));
    const server = createServer();
    let seen = "nothing";
    server.addRaw("test.Context", { Do: { kind: "unary", handle: (payload) => ((seen = store.getStore()), payload) } });
    await server.listen(address);
    const connection = await connect(address);
    await connection.unary("test.Context", "Do", new Uint8Array(0));
    console.log(String(seen));
    await connection.close();
    await server.close();`;
  const child = execFile(process.execPath, ["--input-type=module", "-e", program]);
  const [output] = (await once(child.stdout!, "data")) as [string];
  expect(output.trim()).toBe("undefined");
});

test("a handler's signal is not aborted in the context of whoever closes the server", async () => {
  const aborted = deferred<string | undefined>();
  const started = deferred<void>();
  const address = temporaryAddress();
  await using server = createServer();
  server.addRaw("test.Context", {
    Wait: {
      kind: "unary",
      async handle(payload, { signal }) {
        signal.addEventListener("abort", () => aborted.resolve(store.getStore()));
        started.resolve();
        await aborted.promise;
        return payload;
      },
    },
  });
  await server.listen(address);
  await using connection = await connect(address);
  const failed = failure(connection.unary("test.Context", "Wait", NOTHING));
  await started.promise;
  await store.run("the closer's", () => server.close({ graceMs: 0 }));
  expect(await aborted.promise).toBe(undefined);
  expect((await failed).code).toBe(Code.Unavailable);
});

import { connect, type Driver } from "containerd-shim-protos";
import { describe, expect, test } from "vitest";
import { bytes, text } from "../helpers/outcome.js";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

/** More than a thread sends in the time that an event loop takes for a turn; less than a socket's buffer holds. */
const CALLS = 5000;

const EXITS = {
  "in the next turn of the event loop": "setImmediate(() => process.exit(0))",
  "in the same tick": "laterInThisTick(() => process.exit(0))",
  "with an exception in the same tick": 'laterInThisTick(() => { throw new Error("meant") })',
};

describe.each<Driver>(["loop", "thread"])("a server (%s)", (driver) => {
  test.each(Object.entries(EXITS))(
    "delivers replies that were given before it exits %s",
    async (_when, exit) => {
      await using script = new Script(
        `
      const laterInThisTick = async (work) => {
        for (let hops = 0; hops < 50; hops++) await undefined;
        queueMicrotask(work);
      };
      process.on("uncaughtException", () => process.exit(0));
      const waiting = [];
      const server = product.createServer({ driver: ${JSON.stringify(driver)} });
      server.addRaw("a.B", {
        Last: {
          kind: "unary",
          handle: (payload) =>
            new Promise((resolve) => {
              waiting.push(() => resolve(payload));
              if (waiting.length < ${CALLS}) return;
              for (const answer of waiting) answer();
              ${exit};
            }),
        },
      });
      say(await server.listen(address));
    `,
        temporaryAddress(),
      );
      await using connection = await connect((await script.nextLine())!);
      const calls = Array.from({ length: CALLS }, (_, index) =>
        connection.unary("a.B", "Last", bytes(`${index}`)),
      );
      const replies = await Promise.all(calls);
      expect(replies.map(text)).toEqual(replies.map((_, index) => `${index}`));
    },
  );
});

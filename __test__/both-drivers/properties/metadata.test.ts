import { type ClientInterceptor, connect, createClient, createServer } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { temporaryAddress } from "../../helpers/temp.js";

/** Names that every object has, and others. */
const key = fc.oneof(
  fc.constantFrom(...Object.getOwnPropertyNames(Object.prototype), "prototype", "0", "Key", "key"),
  fc.string({ minLength: 1, maxLength: 5, unit: "grapheme" }),
);
const value = fc.string({ maxLength: 5, unit: "grapheme" });
const metadata = fc.array(fc.tuple(key, fc.oneof(value, fc.array(value, { maxLength: 3 }))), {
  maxLength: 8,
});

test("metadata arrives whatever its keys are, with interceptors and without", async () => {
  let came: Record<string, string[]> = {};
  await using server = createServer().add(Task, {
    connect(_, context) {
      came = context.metadata;
      return {};
    },
  });
  await using connection = await connect(await server.listen(temporaryAddress()));
  const through: ClientInterceptor = (next) => (call) => next(call);
  const clients = [[], [through], [through, through]].map((interceptors) => {
    return createClient(Task, connection, { interceptors });
  });
  await fc.assert(
    fc.asyncProperty(metadata, async (entries) => {
      const given = Object.create(null) as Record<string, string | string[]>;
      for (const [name, values] of entries) given[name] = values;
      const expected = new Map<string, string[]>();
      for (const [name, values] of Object.entries(given)) {
        const lower = name.toLowerCase();
        const all = [...(expected.get(lower) ?? []), ...(typeof values === "string" ? [values] : values)];
        if (all.length > 0) expected.set(lower, all);
      }
      for (const client of clients) {
        await client.connect({}, { metadata: given });
        expect(Object.getPrototypeOf(came)).toBe(Object.prototype);
        expect(new Map(Object.entries(came))).toEqual(expected);
      }
    }),
  );
});

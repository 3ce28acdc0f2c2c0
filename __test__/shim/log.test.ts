import { spawnSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, readSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import * as fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { Lines, LONGEST_TEXT } from "../../src/shim/log-lines.js";
import { ShimLog } from "../../src/shim/log.js";
import { Script } from "../helpers/script.js";
import { ROOT } from "../helpers/started.js";
import { temporaryPath } from "../helpers/temp.js";
import { makeFifo } from "../helpers/shell.js";

/** A pipe like the ones that containerd makes, and its reader. */
class Fifo implements Disposable {
  readonly fd: number;

  constructor() {
    const path = makeFifo(temporaryPath(".log"));
    this.fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
  }

  /** Reads what is available, up to `limit` bytes. */
  read(limit = 1 << 20): Buffer {
    const bytes = Buffer.alloc(limit);
    try {
      return bytes.subarray(0, readSync(this.fd, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      return bytes.subarray(0, 0);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

const DROPPED = /^time="[^"]+" level=warning msg="(\d+) lines of the log were dropped" id="x"$/;
const LINE = /^time="[^"]+" level=(?:info|error) msg="(\d+) (x*)" length=(\d+) id="x"$/;

/** How many lines a log accounts for, by themselves or in counts, and which lines are broken or out of place. */
function accountOf(text: string) {
  let accounted = 0;
  const strange: string[] = [];
  const lines = text.split("\n");
  if (lines.pop() !== "") strange.push("it does not end in a newline");
  for (const line of lines) {
    const [, number, body, length] = LINE.exec(line) ?? [];
    const [, count] = DROPPED.exec(line) ?? [];
    // The lines missing before this one are in a count before it.
    const isRight = count !== undefined || (Number(number) === accounted && body?.length === Number(length));
    if (!isRight) strange.push(line.slice(0, 200));
    accounted += Number(count ?? 1);
  }
  return { strange, accounted };
}

describe("the log's lines", () => {
  test("have each field once, with the line's own value, and none of the names that a line begins with", () => {
    using fifo = new Fifo();
    const log = new ShimLog(fifo.fd, false, { namespace: "default", id: "box" });
    log.info("started", { id: "other", pid: 3 });
    log.info("odd", { msg: "x", level: 1, time: "never" });
    const [first = "", second = ""] = fifo.read().toString().split("\n");
    expect(first).toMatch(/ msg="started" id="other" pid=3 namespace="default"$/);
    expect(second).toMatch(
      / msg="odd" fields.msg="x" fields.level=1 fields.time="never" namespace="default" id="box"$/,
    );
  });

  test("are whole, and missing ones are counted, however the reader reads", async () => {
    const step = fc.oneof(
      fc.record({ log: fc.oneof(fc.nat(200), fc.integer({ min: 3900, max: 4200 }), fc.nat(60_000)) }),
      fc.record({ read: fc.oneof(fc.nat(100), fc.nat(10_000), fc.nat(200_000)) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        using fifo = new Fifo();
        const shimLog = new ShimLog(fifo.fd, false, { id: "x" });
        const read: Buffer[] = [];
        let logged = 0;
        for (const one of steps) {
          if ("read" in one) read.push(fifo.read(one.read));
          else shimLog.info(`${logged++} ${"x".repeat(one.log)}`, { length: one.log });
        }
        // From here on the reader reads. The rest arrives, and then one more line, without another call.
        shimLog.error(`${logged++} `, { length: 0 });
        await vi.waitFor(() => {
          read.push(fifo.read());
          const account = accountOf(Buffer.concat(read).toString());
          expect(account).toEqual({ strange: [], accounted: logged });
        }, 5000);
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test("are whole when another process reads a little from time to time", async () => {
    const path = makeFifo(temporaryPath(".log"));
    const keep = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    await using reader = new Script(
      `
      const { openSync, readSync, writeSync, constants } = await import("node:fs");
      const { setTimeout: sleep } = await import("node:timers/promises");
      const fd = openSync(address, constants.O_RDONLY | constants.O_NONBLOCK);
      let text = "";
      const bytes = Buffer.alloc(1 << 16);
      for (let round = 1; !text.includes("the end"); round = (round * 7919) % 10007) {
        try { text += bytes.latin1Slice(0, readSync(fd, bytes, 0, 1 + (round * 97) % bytes.length)); }
        catch (error) { if (error.code !== "EAGAIN") throw error; }
        await sleep(round % 4);
      }
      for (const line of text.split("\\n")) say(line);
    `,
      path,
    );
    const log = new ShimLog(keep, false, { id: "x" });
    const logged = 3000;
    for (let i = 0; i < logged; i++) {
      const length = (i * 7919) % (i % 10 === 0 ? 20_000 : 300);
      log.info(`${i} ${"x".repeat(length)}`, { length });
      if (i % 20 === 0) await sleep(1);
    }
    const ending = setInterval(() => log.info("the end"), 20);
    const lines = await reader.rest();
    clearInterval(ending);
    closeSync(keep);
    const end = lines.findIndex((line) => line.includes("the end"));
    const before = lines.slice(0, end);
    // A count just before the end may include ends that were dropped.
    const count = before.reduce((sum, line) => sum + Number(DROPPED.exec(line)?.[1] ?? 1), 0);
    expect(count).toBeGreaterThanOrEqual(logged);
    const kept = before.filter((line) => LINE.test(line)).length;
    const counts = before.filter((line) => DROPPED.test(line)).length;
    expect(kept + counts).toBe(before.length);
    expect(counts).toBeGreaterThan(0);
  }, 60_000);

  test("are one for each message, whatever the fields are", () => {
    const path = temporaryPath(".log");
    const fd = openSync(path, "w");
    const log = new ShimLog(fd, false, {});
    const hostile = {
      get getter(): string {
        throw new Error("no");
      },
    };
    log.info("a\nb\u007f\u0085\u001b[31m\u202e", { "na me=\n": "v\nw", error: new Error("stack") });
    log.info("getter", hostile);
    log.info(undefined as unknown as string, { symbol: Symbol("s"), big: 1n });
    log.info("inspect", {
      value: {
        [Symbol.for("nodejs.util.inspect.custom")]() {
          throw new Error("no");
        },
      },
    });
    closeSync(fd);
    const lines = readFileSync(path, "utf8").split("\n");
    expect(lines).toHaveLength(5);
    // eslint-disable-next-line no-control-regex
    expect(lines.join("")).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/);
    expect(lines[0]).toContain(
      String.raw`msg="a\nb\u007f\u0085\u001b[31m\u202e" na_me__="v\nw" error="Error: stack\n`,
    );
    expect(lines[1]).toContain(`msg="getter" fields="Error: no`);
    expect(lines[2]).toContain(`msg="undefined" symbol="Symbol(s)" big=1`);
    expect(lines[3]).toContain(`value="a value that cannot be shown"`);
  });

  test("are cut if they are too long, with a mark that says by how much", () => {
    const path = temporaryPath(".log");
    const fd = openSync(path, "w");
    const log = new ShimLog(fd, false, {});
    log.info("m".repeat(LONGEST_TEXT));
    log.info("m".repeat(LONGEST_TEXT + 1), { field: "😀".repeat(LONGEST_TEXT) });
    closeSync(fd);
    const [whole, cut] = readFileSync(path, "utf8").split("\n");
    expect(whole).toContain(`"${"m".repeat(LONGEST_TEXT)}"`);
    expect(cut).toMatch(/msg="m{65504}… \(33 more\)" field="(?:😀){32752}… \(65568 more\)"$/u);
  });
});

describe("printed text", () => {
  const collected = () => {
    const lines: string[] = [];
    return { lines, into: new Lines((line) => lines.push(line)) };
  };

  test("becomes the same lines however it is split into writes", () => {
    const piece = fc.string({ unit: fc.constantFrom("a", "ä", "€", "😀", "\r", "\n") });
    fc.assert(
      fc.property(fc.array(piece), fc.array(fc.nat(7)), fc.boolean(), (pieces, sizes, asBytes) => {
        const text = pieces.join("");
        const { lines, into } = collected();
        const whole = asBytes ? Buffer.from(text) : text;
        let from = 0;
        for (const size of sizes) {
          into.write(asBytes ? (whole as Buffer).subarray(from, from + size) : text.slice(from, from + size));
          from += size;
        }
        into.write(asBytes ? (whole as Buffer).subarray(from) : text.slice(from));
        into.end();
        const expected = text.split("\n");
        if (expected.at(-1) === "") expected.pop();
        expect(lines).toEqual(expected);
      }),
    );
  });

  test("without a newline is broken into marked lines, none of them longer than the limit", () => {
    fc.assert(
      fc.property(
        fc.constantFrom("a", "😀", "aä😀"),
        fc.integer({ min: 1, max: 5 * LONGEST_TEXT }),
        fc.integer({ min: 1, max: 2 * LONGEST_TEXT }),
        (unit, length, size) => {
          const text = unit.repeat(Math.ceil(length / unit.length));
          const { lines, into } = collected();
          for (let from = 0; from < text.length; from += size) into.write(text.slice(from, from + size));
          into.write("\n");
          expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(LONGEST_TEXT);
          expect(lines.every((line) => line.isWellFormed())).toBe(true);
          expect(lines.join("\n").replaceAll("…\n…", "")).toBe(text);
          expect(lines.length > 1).toBe(text.length > LONGEST_TEXT - 1);
        },
      ),
      { numRuns: 40 },
    );
  });

  test("reaches the log in lines of bounded length, with its last line, even if a character is split", () => {
    const path = temporaryPath(".log");
    const printed = openSync(temporaryPath(".printed"), "w+");
    const source = `
      import { openSync } from "node:fs";
      import { logStandardStreams, ShimLog } from "./dist/shim/log.js";
      logStandardStreams(new ShimLog(openSync(process.argv[1], "w"), false, {}));
      for (let i = 0; i < 300; i++) process.stdout.write(\`progress \${i} \${"x".repeat(200_000)}\\r\`);
      process.stdout.write("\\n");
      process.stdout.write(Buffer.from([0xc3]));
      process.stdout.write(Buffer.from([0xa4, 0x0a]));
      process.stderr.write("68657921", "hex");
      process.stderr.write("\\n");
      process.stdout.write("the last words");
    `;
    const { status } = spawnSync(process.execPath, ["--input-type=module", "-e", source, path], {
      cwd: ROOT,
      stdio: ["ignore", printed, printed],
    });
    closeSync(printed);
    expect(status).toBe(0);
    const lines = readFileSync(path, "utf8").split("\n");
    expect(lines.slice(-4).map((line) => /msg=(".*")/.exec(line)?.[1])).toEqual([
      '"ä"',
      '"hey!"',
      '"the last words"',
      undefined,
    ]);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(LONGEST_TEXT + 1000);
  });
});

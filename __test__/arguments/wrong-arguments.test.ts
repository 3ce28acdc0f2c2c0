import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Argument } from "./options.js";
import { PUBLIC_FUNCTIONS, type PublicFunction, type World } from "./functions.js";
import { errorOf, makeWorld } from "./world.js";

let world: World & AsyncDisposable;

beforeAll(async () => {
  world = await makeWorld();
});

afterAll(() => world[Symbol.asyncDispose]());

function revoked(target: object): unknown {
  const { proxy, revoke } = Proxy.revocable(target, {});
  revoke();
  return proxy;
}

/** Values that a program may pass by mistake, and hostile ones. */
const VALUES: readonly (readonly [string, () => unknown])[] = [
  ["undefined", () => undefined],
  ["null", () => null],
  ["{}", () => ({})],
  ["[]", () => []],
  ["[undefined]", () => [undefined]],
  ["an array of a revoked Proxy", () => [revoked({})]],
  ["0", () => 0],
  ["1.5", () => 1.5],
  ["-1", () => -1],
  ["NaN", () => Number.NaN],
  ["an empty text", () => ""],
  ["a text", () => "text"],
  ["true", () => true],
  ["a bigint", () => 1n],
  ["a symbol", () => Symbol("s")],
  ["a function", () => () => 1],
  [
    "a class",
    () =>
      class {
        readonly name = "class";
      },
  ],
  ["a Promise", () => Promise.resolve({})],
  ["a Map", () => new Map()],
  ["a Date", () => new Date(0)],
  ["an ArrayBuffer", () => new ArrayBuffer(1)],
  ["an AbortController", () => new AbortController()],
  ["an object without a prototype", () => Object.create(null)],
  ["an object that has no text", () => Object.create({ toString: undefined, valueOf: undefined })],
  ["a Proxy", () => new Proxy({}, {})],
  ["a Proxy of a function", () => new Proxy(() => 1, {})],
  ["a revoked Proxy", () => revoked({})],
  ["a revoked Proxy of an array", () => revoked([])],
  ["a revoked Proxy of a function", () => revoked(() => 1)],
];

/** The texts of JavaScript's own errors, which name nothing that the caller knows. */
const NODES_OWN =
  /Cannot (read|destructure|convert|set|perform|mix|access)|is not a function|is not iterable|is not a constructor|has been revoked|Invalid value used|Method .* called on incompatible|undefined \(reading/;

/** Texts that say of a value that it is not what it is. What is wrong is a part of it, which they have to name. */
const CONTRADICTIONS =
  /must be an array\b.*, not an array$|must be an object\b.*, not object$|must be (?:an?|the) (?:non-empty )?(?:string|path|name)\b.*, not string$|must be a boolean, not (?:string|number)$/;

function rightOf({ right }: Argument): unknown {
  return typeof right === "function" ? (right as (world: World) => unknown)(world) : right;
}

async function expectRefused(run: () => unknown, named: RegExp, what: string): Promise<void> {
  const error = await errorOf(run);
  expect(error, what).toBeInstanceOf(TypeError);
  expect((error as TypeError).message, what).not.toMatch(NODES_OWN);
  expect((error as TypeError).message, what).toMatch(named);
  expect((error as TypeError).message, what).not.toMatch(CONTRADICTIONS);
  // What it must be says too little without what it is.
  expect((error as TypeError).message, what).not.toMatch(/ must be (?!.*(?:not|but|is) )/s);
}

/** A right value must not cause a JavaScript error. The call may fail for another reason. */
async function expectTaken(run: () => unknown, what: string): Promise<void> {
  const error = await errorOf(run);
  expect(String(error), what).not.toMatch(NODES_OWN);
}

describe("each argument of each public function", () => {
  for (const { name, call, args } of PUBLIC_FUNCTIONS) {
    test(`is refused by name if it is wrong: ${name}`, async () => {
      for (const [place, argument] of args.entries()) {
        for (const [what, make] of VALUES) {
          const value = make();
          const given = args.map((other, index) => (index === place ? value : rightOf(other)));
          const where = `argument ${place} is ${what}`;
          const run = () => call(world, given);
          if (argument.takes(value)) await expectTaken(run, where);
          else await expectRefused(run, argument.named, where);
        }
      }
    });
  }
});

/** What errors say of a number of milliseconds, whichever function it is for. */
const MILLISECONDS =
  /^(?:reconnect\.)?\w+Ms must be (?:a number of milliseconds(?: above 0|, \d+ or more| from \d+ to \d+)|an integer from 1 to \d+), not /;

/** The names of all options that there are. */
const OPTION_NAMES = new Set(PUBLIC_FUNCTIONS.flatMap(({ options }) => Object.keys(options?.of ?? {})));

describe("each option of each public function", () => {
  const withOptions = PUBLIC_FUNCTIONS.filter(({ options }) => options !== undefined);
  for (const { name, call, args, options } of withOptions) {
    test(`is refused by name if it is wrong: ${name}`, async () => {
      const { at, of } = options as NonNullable<PublicFunction["options"]>;
      for (const [option, argument] of Object.entries(of)) {
        for (const [what, make] of VALUES) {
          const value = make();
          const right = args.map(rightOf);
          const base = right[at];
          right[at] = { ...(typeof base === "object" ? base : {}), [option]: value };
          const where = `${option} is ${what}`;
          const run = () => call(world, right);
          if (argument.takes(value)) await expectTaken(run, where);
          else await expectRefused(run, option.endsWith("Ms") ? MILLISECONDS : argument.named, where);
        }
      }
    });

    test(`is refused if only other functions have it: ${name}`, async () => {
      const { at, of } = options as NonNullable<PublicFunction["options"]>;
      for (const other of OPTION_NAMES) {
        if (Object.hasOwn(of, other)) continue;
        const right = args.map(rightOf);
        const base = right[at];
        right[at] = { ...(typeof base === "object" ? base : {}), [other]: undefined };
        const error = await errorOf(() => call(world, right));
        expect(error, other).toBeInstanceOf(TypeError);
        expect((error as TypeError).message).toContain(`${other} is not an option of `);
      }
    });

    test(`is refused with the intended name if it is misspelt: ${name}`, async () => {
      const { at, of } = options as NonNullable<PublicFunction["options"]>;
      for (const option of Object.keys(of)) {
        for (const [misspelt, value] of misspellings(option)) {
          if (Object.hasOwn(of, misspelt)) continue;
          const right = args.map(rightOf);
          const base = right[at];
          right[at] = { ...(typeof base === "object" ? base : {}), [misspelt]: value };
          const error = await errorOf(() => call(world, right));
          expect(error, misspelt).toBeInstanceOf(TypeError);
          expect((error as TypeError).message).toMatch(
            new RegExp(
              `^(reconnect\\.)?${misspelt} is not an option of .*; did you mean (reconnect\\.)?\\w+\\?$`,
            ),
          );
        }
      }
    });
  }
});

/** Typical typing and memory slips, with a value or without. */
function misspellings(option: string): [string, unknown][] {
  const snake = option.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  return [
    [option.slice(0, -1), undefined],
    [`${option}s`, 1],
    [option.toUpperCase(), {}],
    [`${option[1] ?? ""}${option[0] ?? ""}${option.slice(2)}`, null],
    ...(snake === option ? [] : [[snake, 1] as [string, unknown]]),
  ];
}

describe("the table of public functions", () => {
  const ENTRIES = [
    ".",
    "/events",
    "/otel",
    "/shim",
    "/shim/io",
    "/shim/mount",
    "/registry",
    "/types",
    "/task/v3",
    "/nri",
    "/shims",
    "/shim/testing",
    "/shim/cgroup",
    "/shim/process",
    "/shim/spec",
  ];

  test("has every function and class that an entry exports", async () => {
    const tried = new Set(PUBLIC_FUNCTIONS.map(({ name }) => name.replace(/[.,].*/, "")));
    // Other functions make these: their constructors are not public. runShim needs a process of its own, and the
    // others take no arguments.
    const apart = ["Connection", "HandlerContext", "Server", "SyncConnection", "EventSink", "Publisher"];
    apart.push("ContextValues", "EventSubscription", "RunningPlugin", "TestRuntime", "OpenTask", "TestShim");
    const elsewhere = [
      "childrenOfProcess",
      "createContextValues",
      "runShim",
      "listenConsole",
      "Console",
      "ConsoleSocket",
      "Stdio",
    ];
    for (const entry of ENTRIES) {
      const module = (await import(`containerd-shim-protos${entry === "." ? "" : entry}`)) as object;
      for (const [name, value] of Object.entries(module)) {
        if (typeof value !== "function") continue;
        expect([...tried, ...apart, ...elsewhere], `${name} of ${entry}`).toContain(name);
      }
    }
  });

  test("has every type of options that an entry exports", () => {
    const tried = new Set(PUBLIC_FUNCTIONS.map(({ optionsType }) => optionsType));
    const dist = new URL("../../dist/", import.meta.url);
    const exported = [
      "index",
      "events/index",
      "otel/index",
      "shim/index",
      "shim/io",
      "shim/mount",
      "nri/index",
      "shims/index",
      "shim/testing",
      "shim/process",
    ].flatMap((entry) => {
      const text = readFileSync(new URL(`${entry}.d.ts`, dist), "utf8");
      return [...text.matchAll(/\b\w+Options\b/g)].map(([name]) => name);
    });
    expect(exported.length).toBeGreaterThan(10);
    // Tested together with runShim.
    for (const name of exported) expect([...tried, "ShimOptions"]).toContain(name);
  });

  test("has every class's methods that take arguments", async () => {
    const index = await import("containerd-shim-protos");
    const events = await import("containerd-shim-protos/events");
    const { Connection, Server, SyncConnection } = index;
    const { EventSink, Publisher } = events;
    const names = PUBLIC_FUNCTIONS.map(({ name }) => name);
    for (const kind of [Connection, Server, SyncConnection, EventSink, Publisher]) {
      const text = declarationOf(kind.name);
      for (const method of Object.getOwnPropertyNames(kind.prototype)) {
        if (method === "constructor" || !new RegExp(`^    ${method}(<[^>]*>)?\\([^)]`, "m").test(text))
          continue;
        expect(names).toContain(`${kind.name}.${method}`);
      }
    }
  });
});

/** The declaration of a class in the package's types. */
function declarationOf(kind: string): string {
  const files = [
    "client/connection",
    "server/server",
    "client/sync-client",
    "events/sink",
    "events/publisher",
  ];
  for (const file of files) {
    const text = readFileSync(new URL(`../../dist/${file}.d.ts`, import.meta.url), "utf8");
    const at = text.indexOf(`export declare class ${kind} `);
    if (at >= 0) return text.slice(at, text.indexOf("\n}", at));
  }
  throw new Error(`no declaration of ${kind}`);
}

import { create, type DescField, type DescMessage, type Message, ScalarType } from "@bufbuild/protobuf";
import {
  Adjustment,
  type AdjustmentSpec,
  type ContainerAdjustment,
  ContainerAdjustmentSchema,
  ContainerUpdateSchema,
  createTestRuntime,
  LinuxResourcesSchema,
  type RunningPlugin,
  type TestRuntime,
} from "containerd-shim-protos/nri";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NUMBER_FIELDS, type NumberField, specOf } from "./number-fields.js";

/** Numbers that messages have and specs have not: `LinuxResources.devices`, and times that a spec takes as a message does. */
const ONLY_MESSAGES = [
  ["linux.resources.devices.0.major.value", -1, 4095],
  ["linux.resources.devices.0.minor.value", -1, 1_048_575],
  ["linux.scheduler.runtime", 0, 2n ** 64n - 1n],
  ["linux.scheduler.deadline", 0, 2n ** 64n - 1n],
  ["linux.scheduler.period", 0, 2n ** 64n - 1n],
] as const;

/** The fields at a path in a message, the innermost last; numbers stand for an entry of a list. */
function fieldsAt(path: string): DescField[] {
  let desc: DescMessage | undefined = ContainerAdjustmentSchema;
  const fields: DescField[] = [];
  for (const name of path.split(".").filter((part) => !/^\d+$/.test(part))) {
    const field: DescField = desc!.field[name]!;
    fields.push(field);
    desc = field.message;
  }
  return fields;
}

/** `LinuxMemory.limit` for the path of its value: the field that has a wrapper, rather than the wrapper's own. */
function ownerOf(path: string): string {
  const field = fieldsAt(path.replace(/\.value$/, (end) => (path.includes(".args.") ? end : ""))).at(-1)!;
  return `${field.parent.name}.${field.localName}`;
}

/** All fields of a message, however deep, that are numbers or wrap one. */
function numbersOf(desc: DescMessage, seen = new Set<DescMessage>()): string[] {
  if (seen.has(desc)) return [];
  seen.add(desc);
  return desc.fields.flatMap((field): string[] => {
    const content = field.message?.name.startsWith("Optional") ? field.message.fields[0]! : field;
    if (content.message !== undefined) return numbersOf(content.message, seen);
    const isNumber =
      content.enum !== undefined ||
      ![ScalarType.STRING, ScalarType.BOOL, ScalarType.BYTES].includes(content.scalar!);
    return isNumber ? [`${desc.name}.${field.localName}`] : [];
  });
}

/** A value of the type that the message's field has. */
function exact(path: string, value: bigint): bigint | number {
  const { scalar, enum: enumeration } = fieldsAt(path).at(-1)! as { scalar?: ScalarType; enum?: unknown };
  const isShort = enumeration !== undefined || [ScalarType.INT32, ScalarType.UINT32].includes(scalar!);
  return isShort ? Number(value) : value;
}

function set(message: Message, path: string, value: unknown): void {
  const names = path.split(".");
  const owner = names.slice(0, -1).reduce((at: any, name) => at[name], message);
  owner[names.at(-1)!] = value;
}

/** `linux.devices[0].major`, as in an error. */
const textOf = (path: string) => path.replace(/\.(\d+)/g, "[$1]");

/** Values near the bounds of a field, and of the types of the wire, and others. */
function valuesOf(bounds: readonly (bigint | number)[]): fc.Arbitrary<bigint> {
  const edges = [...bounds.map(BigInt), 0n, 2n ** 31n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n];
  const near = fc.tuple(fc.constantFrom(...edges), fc.bigInt(-2n, 2n)).map(([edge, off]) => edge + off);
  return fc.oneof({ weight: 3, arbitrary: near }, fc.bigInt({ min: -(2n ** 65n), max: 2n ** 65n }));
}

describe("a message that a plugin returns", () => {
  let runtime: TestRuntime;
  let plugin: RunningPlugin;
  let returned: unknown;

  beforeAll(async () => {
    runtime = await createTestRuntime({ requestTimeoutMs: 20_000 });
    plugin = await runtime.start("returns", "10", { createContainer: () => returned as Adjustment });
    await runtime.runPod();
  });
  afterAll(() => runtime.close());

  /** What the runtime is told of a value that `createContainer` returns; empty if it takes the value. */
  async function answerTo(value: unknown): Promise<string> {
    returned = value;
    const answer = await runtime.createContainer(runtime.pods[0]!).then(() => "", String);
    runtime.containers.length = 0;
    return answer;
  }
  const creationWith = (adjust: AdjustmentSpec | ContainerAdjustment) => answerTo({ adjust });
  /** The same of updates at any other time. */
  const updateWith = (update: unknown) => plugin.updateContainers([update as never]).then(() => "", String);

  /** The message of a spec, with a number that no spec would be allowed. */
  function messageWith(field: NumberField, value: bigint): ContainerAdjustment {
    const [, least, , , path] = field;
    const { message } = new Adjustment(specOf(field, exact(path, BigInt(least))));
    set(message, path, exact(path, value));
    return message;
  }

  it("has no number whose range is not tested here", () => {
    const tested = [...NUMBER_FIELDS.map(([, , , , path]) => path), ...ONLY_MESSAGES.map(([path]) => path)];
    expect(new Set(tested.map(ownerOf))).toEqual(new Set(numbersOf(ContainerAdjustmentSchema)));
    const ofUpdates = numbersOf(ContainerUpdateSchema);
    expect(numbersOf(ContainerAdjustmentSchema)).toEqual(expect.arrayContaining(ofUpdates));
  });

  it.each(NUMBER_FIELDS)("is accepted or refused as a plain object is: %s", async (...field) => {
    const [, least, most, , path, ...others] = field;
    await fc.assert(
      fc.asyncProperty(valuesOf([least, most, ...others]), async (value) => {
        const spec = specOf(field, path.startsWith("linux.scheduler") ? exact(path, value) : value);
        const isRefused = (await creationWith(spec)) !== "";
        const message = messageWith(field, value);
        const expected = isRefused ? expect.stringContaining(`adjust.${textOf(path)} must be`) : "";
        expect(await creationWith(message)).toEqual(expected);
        const builder = new Adjustment();
        Object.assign(builder.message, message);
        expect(await answerTo(builder)).toEqual(expected);
      }),
      { numRuns: 20 },
    );
    expect(runtime.plugins).toEqual(["10-returns"]);
  });

  const ofResources: NumberField[] = NUMBER_FIELDS.filter(([, , , , path]) =>
    path.startsWith("linux.resources."),
  );
  it.each(ofResources)("is accepted or refused as a plain object is, in updates: %s", async (...field) => {
    const [, least, most, , path, ...others] = field;
    await fc.assert(
      fc.asyncProperty(valuesOf([least, most, ...others]), async (value) => {
        const spec = { containerId: "a", resources: specOf(field, value).resources };
        const isRefused = (await updateWith(spec)) !== "";
        const resources = messageWith(field, value).linux!.resources!;
        const update = create(ContainerUpdateSchema, { containerId: "a", linux: { resources } });
        const inside = path.slice("linux.resources.".length);
        const refusal = (at: string) =>
          isRefused ? expect.stringContaining(`${at}.${textOf(inside)} must be`) : "";
        expect(await updateWith(update)).toEqual(refusal("TypeError: updates[0].linux.resources"));
        expect(await updateWith({ ...spec, resources })).toEqual(refusal("TypeError: updates[0].resources"));
        expect(await answerTo({ update: [update] })).toEqual(refusal("update[0].linux.resources"));
      }),
      { numRuns: 15 },
    );
  });

  it.each(ONLY_MESSAGES)("may have %s from %s to %s", async (path, least, most) => {
    const message = create(ContainerAdjustmentSchema, {
      linux: { resources: { devices: [{ major: {}, minor: {} }] }, scheduler: {} },
    });
    for (const value of [BigInt(least), BigInt(most)]) {
      set(message, path, value);
      expect(await creationWith(message), String(value)).toBe("");
    }
    for (const value of [BigInt(least) - 1n, BigInt(most) + 1n]) {
      set(message, path, value);
      expect(await creationWith(message)).toContain(`adjust.${textOf(path)} must be`);
    }
  });

  it("is checked where it was made without create, and where a wrapper is empty", async () => {
    const hooks = { prestart: [{ path: "/x", timeout: {} }] };
    const message = { ...create(ContainerAdjustmentSchema), hooks };
    expect(await answerTo({ adjust: message })).toContain(
      "adjust.hooks.prestart[0].timeout.value must be an",
    );
    const rlimits = [{ type: "RLIMIT_CPU", soft: 1n }];
    const soft = { ...create(ContainerAdjustmentSchema), rlimits };
    expect(await answerTo({ adjust: soft })).toContain(
      "adjust.rlimits[0].soft must be an integer from 0 to 0, not 1",
    );
  });

  it("is checked by the test runtime too", async () => {
    const resources = create(LinuxResourcesSchema, { cpu: { shares: { value: 1n } } });
    await expect(runtime.updatePod(runtime.pods[0]!, resources)).rejects.toThrow(
      new TypeError("resources.cpu.shares.value must be an integer from 2 to 262144 or 0, not 1"),
    );
  });
});

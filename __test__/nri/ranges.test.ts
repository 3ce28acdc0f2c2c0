import { Adjustment, createTestRuntime, type Integer } from "containerd-shim-protos/nri";
import { describe, expect, it } from "vitest";
import { NUMBER_FIELDS, specOf } from "./number-fields.js";

describe("a number of an adjustment", () => {
  // The fields of a message are not bigints.
  const exact =
    (name: string) =>
    (value: Integer): Integer =>
      name.startsWith("scheduler.") ? Number(value) : BigInt(value);

  it.each(NUMBER_FIELDS)("%s may be from %s to %s", (...field) => {
    const [name, least, most, , , ...others] = field;
    for (const value of [least, most, ...others, exact(name)(least), exact(name)(most)])
      expect(() => new Adjustment(specOf(field, value)), String(value)).not.toThrow();
  });

  it.each(NUMBER_FIELDS)("%s below %s, above %s, or no integer is a TypeError that names it", (...field) => {
    const [name, least, most, , , ...others] = field;
    const alternatives = others.map((other) => ` or ${other}`).join("");
    const outside = [BigInt(least) - 1n, BigInt(most) + 1n].filter(
      (value) => !others.includes(Number(value)),
    );
    for (const value of outside.map(exact(name))) {
      const text = `${name} must be an integer from ${least} to ${most}${alternatives}, not ${value}`;
      expect(() => new Adjustment(specOf(field, value))).toThrow(new TypeError(text));
    }
    for (const value of [-(2n ** 70n), 2n ** 70n, 1.5, Number.NaN, "1", null]) {
      const make = () => new Adjustment(specOf(field, value));
      expect(make, String(value)).toThrow(TypeError);
      expect(make).toThrow(name);
    }
  });
});

describe("a key of an adjustment", () => {
  const KEYS = ["__proto__", "constructor", "hasOwnProperty", "toString", "prototype", "a.b", "ключ", " "];

  it.each(KEYS)("that is %s sets and removes an entry like any other", (key) => {
    // As JSON.parse makes it: an own property.
    const entry = <T>(value: T): Record<string, T> => Object.fromEntries([[key, value]]);
    const { message } = new Adjustment({
      env: entry("1"),
      annotations: entry("1"),
      sysctl: entry("1"),
      netDevices: entry("eth0"),
      namespaces: entry("/x"),
      rlimits: entry({ soft: 1, hard: 1 }),
      resources: { unified: entry("1"), hugepages: entry(1) },
    });
    const linux = message.linux!;
    for (const map of [message.annotations, linux.sysctl, linux.netDevices, linux.resources!.unified]) {
      expect(Object.keys(map)).toEqual([key]);
      expect(Object.getPrototypeOf(map)).toBe(Object.prototype);
    }
    expect([message.env[0]!.key, linux.namespaces[0]!.type, message.rlimits[0]!.type]).toEqual([
      key,
      key,
      key,
    ]);
    expect(linux.resources!.hugepageLimits[0]!.pageSize).toBe(key);
    const removal = new Adjustment({
      annotations: entry(null),
      sysctl: entry(null),
      netDevices: entry(null),
    });
    for (const map of [
      removal.message.annotations,
      removal.message.linux!.sysctl,
      removal.message.linux!.netDevices,
    ])
      expect(Object.keys(map)).toEqual([`-${key}`]);
  });

  it.each(KEYS)(
    "that is %s reaches the container and the plugin that validates it, and is removed",
    async (key) => {
      await using runtime = await createTestRuntime();
      const validated: unknown[] = [];
      let isRemoved = false;
      await runtime.start("setter", "10", {
        createContainer: () => {
          const to = new Adjustment();
          return isRemoved
            ? to.removeAnnotation(key).removeSysctl(key)
            : to
                .annotation(key, "1")
                .sysctl(key, "2")
                .netDevice(key, "eth0")
                .resources({ unified: { [key]: "3" } });
        },
        validateContainerAdjustment: ({ adjust }) =>
          void validated.push(Object.keys(adjust?.annotations ?? {})),
      });
      const pod = await runtime.runPod({ labels: Object.fromEntries([[key, "label"]]) });
      expect(Object.keys(runtime.pods[0]!.labels)).toEqual([key]);
      const { container } = await runtime.createContainer(pod, {
        annotations: Object.fromEntries([[key, "0"]]),
      });
      const read = (map: object | undefined) => Object.entries(map ?? {});
      expect(read(container.annotations)).toEqual([[key, "1"]]);
      expect(read(container.linux?.sysctl)).toEqual([[key, "2"]]);
      expect(read(container.linux?.netDevices)).toMatchObject([[key, { name: "eth0" }]]);
      expect(read(container.linux?.resources?.unified)).toEqual([[key, "3"]]);
      isRemoved = true;
      const other = await runtime.createContainer(pod, {
        annotations: Object.fromEntries([[key, "0"]]),
      });
      expect(read(other.container.annotations)).toEqual([]);
      expect(validated).toEqual([[key], [`-${key}`]]);
      expect(({} as Record<string, unknown>)["name"]).toBeUndefined();
    },
  );
});

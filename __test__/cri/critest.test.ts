import { describe, expect, test } from "vitest";
import { counts, critest, type Spec } from "./critest.js";
import { type Handler, HANDLERS, Node, OWN, RUNC } from "./node.js";
import { useRunning } from "./suite.js";

/** Fewer than these mean that the specs, not the shims, do not run here. */
const AT_LEAST = 100;

describe("the specs of Kubernetes for container runtimes, critest", () => {
  const results = new Map<Handler, Map<string, Spec>>();

  useRunning(() => Node.start());

  test.each(HANDLERS)("run with %s", { timeout: 30 * 60_000 }, async (_, handler) => {
    const started = Date.now();
    const specs = await critest(handler);
    results.set(handler, specs);
    const seconds = Math.round((Date.now() - started) / 1000);
    console.log(`critest with ${handler.name}: ${counts(specs)}, in ${seconds} s`);
    expect(passed(specs).size).toBeGreaterThan(AT_LEAST);
  });

  test("pass with shim-runc if they pass with containerd's own shim", () => {
    const own = results.get(OWN)!;
    const ours = results.get(RUNC)!;
    const failing = [...own.values()].filter(
      ({ name, state }) => state === "failed" && !passed(ours).has(name),
    );
    if (failing.length > 0) console.log(`With both fail:\n${failing.map(({ name }) => name).join("\n")}`);
    const differing = [...passed(own)].filter((name) => !passed(ours).has(name));
    for (const name of differing) console.error(`${name}:\n${ours.get(name)?.message ?? "did not run"}\n`);
    expect(differing).toEqual([]);
  });

  function passed(specs: ReadonlyMap<string, Spec>): Set<string> {
    return new Set([...specs.values()].filter(({ state }) => state === "passed").map(({ name }) => name));
  }
});

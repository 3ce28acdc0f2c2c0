import { readFileSync } from "node:fs";
import { connect, createClient } from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { expect, test, vi } from "vitest";
import { FIXTURE, ShimHost } from "./shim.js";

const MIB = 1 << 20;

/** What a process holds alone, in bytes. */
function dirty(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Private_Dirty: +(\d+)/m.exec(rollup)?.[1]) * 1024;
}

test("a shim gives back what a burst of large requests took", async () => {
  using host = new ShimHost({ does: "keep" });
  await using connection = await connect(await host.address());
  const task = createClient(Task, connection);
  const { shimPid } = await task.connect({});
  const value = new Uint8Array(3 * MIB).fill(1);
  const large = { id: host.id, options: { typeUrl: "x", value } };
  const before = dirty(shimPid);
  await Promise.all(Array.from({ length: 16 }, () => task.create(large)));
  // Half of it is garbage, and the rest is in the buffers through which it crossed.
  await vi.waitFor(() => expect(dirty(shimPid) - before).toBeLessThan(4 * MIB), 15_000);
  // It serves all the same, from buffers that were emptied.
  await Promise.all([task.create(large), task.connect({})]);
  expect(await task.connect({})).toMatchObject({ shimPid });
});

/** Flags of V8 that a pause sets, with values of their own. */
const CHOSEN = [
  "--semi-space-growth-factor=3",
  "--bytecode_old_age=9",
  "--no-compact-on-every-full-gc",
  "--no-incremental-marking",
];

test.each([
  { given: [], keeps: false },
  { given: CHOSEN, keeps: true },
])("a pause sets V8's flags, but none that Node was given: $given", async ({ given, keeps }) => {
  using host = new ShimHost({ does: "keep", program: [...given, FIXTURE] });
  await using connection = await connect(await host.address());
  const task = createClient(Task, connection);
  const { shimPid } = await task.connect({});
  const { pid: flags } = await task.state({ id: host.id });
  const before = dirty(shimPid);
  const value = new Uint8Array(3 * MIB).fill(1);
  const large = { id: host.id, options: { typeUrl: "x", value } };
  await Promise.all(Array.from({ length: 16 }, () => task.create(large)));
  await vi.waitFor(() => expect(dirty(shimPid) - before).toBeLessThan(4 * MIB), 15_000);
  expect((await task.state({ id: host.id })).pid === flags).toBe(keeps);
});

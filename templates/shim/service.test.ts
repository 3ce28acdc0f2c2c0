import {
  TASK_CREATE_EVENT_TOPIC,
  TASK_EXIT_EVENT_TOPIC,
  TASK_START_EVENT_TOPIC,
} from "containerd-shim-protos/events";
import { createTestShim } from "containerd-shim-protos/shim/testing";
import { expect, test } from "vitest";
import { createSkeleton } from "./service.js";

test("a container runs, and its end is known", async () => {
  const spec = { process: { args: ["/bin/sh", "-c", "exit 3"], cwd: "/" } };
  await using shim = await createTestShim(createSkeleton, { spec });
  const { id, bundle, task } = shim;
  await task.create({ id, bundle });
  await task.start({ id });
  expect(await task.wait({ id })).toMatchObject({ exitStatus: 3 });
  const events = [await shim.nextEvent(), await shim.nextEvent(), await shim.nextEvent()];
  expect(events.map(({ topic }) => topic)).toEqual([
    TASK_CREATE_EVENT_TOPIC,
    TASK_START_EVENT_TOPIC,
    TASK_EXIT_EVENT_TOPIC,
  ]);
  expect(await task.delete({ id })).toMatchObject({ exitStatus: 3 });
  await task.shutdown({ id });
  await shim.shutdown;
});

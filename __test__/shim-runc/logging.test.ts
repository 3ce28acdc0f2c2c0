import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FakeRunc } from "./fake-runc.js";

test("Delete asks a logging program to end that does not end with its streams", async () => {
  await using runc = await FakeRunc.start();
  const { id, task } = runc;
  const program = join(runc.folder, "logger");
  writeFileSync(program, "#!/bin/sh\nexec 5>&-\nwhile true; do sleep 0.05; done\n", { mode: 0o755 });
  await runc.create({ stdout: `binary://${program}` });
  await task.start({ id });
  const waited = task.wait({ id });
  await task.kill({ id, signal: 9 });
  await waited;
  const start = performance.now();
  await task.delete({ id });
  expect(performance.now() - start).toBeLessThan(5000);
});

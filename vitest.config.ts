import { join } from "node:path";
import { defineConfig } from "vitest/config";

const thread = join(import.meta.dirname, "__test__/both-drivers/by-thread.mjs");

export default defineConfig({
  test: {
    // A native addon with its own event-loop handles: a process per file, never vitest's threads.
    pool: "forks",
    // vitest leaves a processor idle. Most files wait for other processes for half of their time.
    maxWorkers: "100%",
    globalSetup: ["__test__/helpers/global-setup.ts", "__test__/parity/global-setup.ts"],
    testTimeout: 20_000,
    // A busy machine may keep a process waiting for longer than a test does. What was tried again says so in the output.
    retry: process.env["CI"] === "true" ? 1 : 0,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 10_000 } },
    projects: [
      {
        extends: true,
        test: {
          name: "package",
          include: ["__test__/**/*.test.ts"],
          exclude: ["__test__/{containerd,cri,docker,packaging}/**"],
        },
      },
      {
        // All that has to do with connections once more, on the other driver.
        extends: true,
        resolve: { alias: [{ find: /^containerd-shim-protos$/, replacement: thread }] },
        test: {
          name: "driver: thread",
          env: { TEST_PACKAGE: thread },
          include: ["__test__/both-drivers/**/*.test.ts"],
        },
      },
    ],
  },
});

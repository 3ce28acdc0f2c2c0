import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["__test__/containerd/**/*.test.ts"],
    // A native addon with its own event-loop handles: a process per file, never vitest's threads.
    pool: "forks",
    globalSetup: ["__test__/containerd/global-setup.ts"],
    // Every file starts a daemon of its own, and shims of all daemons share one folder for their sockets.
    fileParallelism: false,
    // Lists every test by name, so that a skipped suite says in the summary what it needs.
    reporters: ["verbose"],
    // containerd's own shims, which the same tests run, at times lose or reorder the events of a fast container.
    retry: 1,
    testTimeout: 30_000,
    hookTimeout: 120_000,
  },
});

import { defineConfig } from "vitest/config";

// Started by __test__/cri/main.ts, on a machine of its own.
export default defineConfig({
  test: {
    include: ["__test__/cri/**/*.test.ts"],
    pool: "forks",
    // All files use the same machine, each with a node of its own.
    fileParallelism: false,
    reporters: ["verbose"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});

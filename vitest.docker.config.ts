import { defineConfig } from "vitest/config";

// Started by __test__/docker/main.ts, on a machine of its own.
export default defineConfig({
  test: {
    include: ["__test__/docker/**/*.test.ts"],
    pool: "forks",
    // All files use the same machine, each with a dockerd of its own.
    fileParallelism: false,
    reporters: ["verbose"],
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});

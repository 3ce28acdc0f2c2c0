import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["__test__/**/*.test.ts"],
    exclude: ["__test__/containerd/**", "node_modules/**"],
    // A native addon with its own event-loop handles: a process per file, never vitest's threads.
    pool: "forks",
    globalSetup: ["__test__/helpers/global-setup.ts", "__test__/parity/global-setup.ts"],
    testTimeout: 20_000,
    hookTimeout: 60_000,
  },
});

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: [
      "__test__/both-drivers/*.test.ts",
      "__test__/package/{any,entries}.test.ts",
      "__test__/parity/*.test.ts",
    ],
    pool: "forks",
    maxWorkers: "100%",
    globalSetup: [
      "__test__/helpers/global-setup.ts",
      "__test__/parity/global-setup.ts",
      "__test__/arm64/global-setup.ts",
    ],
    setupFiles: ["__test__/arm64/setup.ts"],
    env: { PARITY_VALUES: "200" },
    // An emulated processor is some twenty times slower.
    testTimeout: 200_000,
    hookTimeout: 200_000,
    expect: { poll: { timeout: 20_000 } },
    retry: process.env["CI"] === "true" ? 1 : 0,
  },
});

import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["__test__/packaging/**/*.test.ts"],
    pool: "forks",
    maxWorkers: "100%",
    globalSetup: ["__test__/packaging/global-setup.ts"],
    // Lists every test by name, since which Nodes and compilers are tried is what one wants to know.
    reporters: ["verbose"],
    // npm under an emulator takes a minute.
    testTimeout: 240_000,
    hookTimeout: 240_000,
  },
});

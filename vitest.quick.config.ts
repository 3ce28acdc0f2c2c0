import { defineConfig } from "vitest/config";
export default defineConfig({ root: "/work/wt/values", test: { pool: "forks", testTimeout: 60_000, hookTimeout: 60_000 } });

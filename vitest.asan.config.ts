import { mergeConfig } from "vitest/config";
import base from "./vitest.config.js";

/** The tests as they are, with the addon that `npm run test:asan` has built. */
export default mergeConfig(base, {
  test: {
    // Not in the environment of vitest itself, which has an addon of its own that the variable names too.
    env: { NAPI_RS_NATIVE_LIBRARY_PATH: process.env["ASAN_ADDON"] ?? "" },
    testTimeout: 120_000,
  },
});

import { createRequire } from "node:module";
import type * as Native from "../index.js";

/** The addon, through the loader that napi generates beside `index.d.ts`. Loaded at the first call. */
export function loadNative(): typeof Native {
  return createRequire(import.meta.url)("../native.cjs") as typeof Native;
}

export type {
  BindingAddress,
  BindingListenOptions,
  BindingMethod,
  BindingOpened,
  Port as NativePort,
} from "../index.js";

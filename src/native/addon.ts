import type * as Native from "../../index.js";
import { loadAddon } from "./load.js";

let addon: typeof Native | undefined;

/** The addon, loaded at the first call, so that a program that only uses messages does without it. */
export function loadNative(): typeof Native {
  return (addon ??= loadAddon());
}

export type {
  BindingAddress,
  BindingListenOptions,
  BindingMethod,
  BindingOpened,
  BindingPump as NativePump,
  Port as NativePort,
} from "../../index.js";

import type * as Native from "../../index.js";
import { textOf } from "../value-kinds.js";
import { loadAddon } from "./load.js";

let addon: typeof Native | undefined;

/** The addon, loaded at the first call, so that a program that only uses messages does without it. */
export function loadNative(): typeof Native {
  return (addon ??= loadAddon());
}

/**
 * The number of the system's error for which a constructor of the addon threw; undefined if it threw for another reason.
 * Functions return such numbers, which a constructor cannot.
 */
export function thrownErrno(error: unknown): number | undefined {
  const [, errno] = /\(os error (\d+)\)$/.exec(textOf(error)) ?? [];
  return errno === undefined ? undefined : Number(errno);
}

export type {
  BindingAddress,
  BindingListenOptions,
  BindingMethod,
  BindingOpened,
  BindingPump as NativePump,
  Port as NativePort,
} from "../../index.js";

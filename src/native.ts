import { loadAddon } from "./loader/load.js";

/** The addon. */
export const native = loadAddon();

export type {
  BindingAddress,
  BindingListenOptions,
  BindingMethod,
  BindingOpened,
  Port as NativePort,
} from "../index.js";

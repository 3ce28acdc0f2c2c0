import { types } from "node:util";
import { timestampFromDate } from "containerd-shim-protos/shim";
import { openStdio } from "containerd-shim-protos/shim/io";
import { mountAll, supportsIdMapping, unmountAll } from "containerd-shim-protos/shim/mount";
import type { PublicFunction } from "./functions.js";
import { argument, isEmpty, left, optionsOf, stdioOptions, unmountOptions } from "./options.js";

/** Where nothing can be mounted. */
const NOWHERE = "/no/such/folder";
const folderOf = (name: string) => argument(NOWHERE, new RegExp(name), (value) => value === "text");

/** The functions for shims. */
export const SHIM_FUNCTIONS: readonly PublicFunction[] = [
  {
    name: "timestampFromDate",
    call: (_, [date]) => timestampFromDate(date as never),
    args: [argument(new Date(0), /date/, types.isDate)],
  },
  {
    name: "openStdio",
    optionsType: "StdioOptions",
    call: async (_, [of, options]) => (await openStdio(of as never, options as never)).close(),
    args: [argument({ stdin: "", stdout: "", stderr: "" }, /paths/), optionsOf("a process's streams")],
    options: { at: 1, of: stdioOptions },
  },
  ...(["stdin", "stdout", "stderr"] as const).map((name): PublicFunction => ({
    name: `openStdio, its ${name}`,
    call: async (_, [path]) => (await openStdio({ stdin: "", stdout: "", stderr: "", [name]: path })).close(),
    args: [argument("", new RegExp(`paths\\.${name}`), (value) => value === "text" || value === "")],
  })),
  {
    name: "mountAll",
    call: (_, [mounts, rootfs]) => mountAll(mounts as never, rootfs as never),
    args: [argument([], /mounts/, (value) => isArray(value) && value.length === 0), folderOf("rootfs")],
  },
  {
    name: "mountAll, one of its mounts",
    call: (_, [mount]) => mountAll([mount as never], NOWHERE),
    args: [argument({}, /mounts\[0\]/, isEmpty)],
  },
  ...(["type", "source", "target"] as const).map((name): PublicFunction => ({
    name: `mountAll, the ${name} of a mount`,
    call: (_, [value]) => mountAll([{ [name]: value as never }], NOWHERE),
    args: [
      argument(
        "",
        new RegExp(`mounts\\[0\\]\\.${name}`),
        (value) => left(value) || typeof value === "string",
      ),
    ],
  })),
  {
    name: "mountAll, the options of a mount",
    call: (_, [options]) => mountAll([{ options: options as never }], NOWHERE),
    args: [
      argument([], /mounts\[0\]\.options/, (value) => left(value) || (isArray(value) && value.length === 0)),
    ],
  },
  {
    name: "unmountAll",
    optionsType: "UnmountOptions",
    call: (_, [folder, options]) => unmountAll(folder as never, options as never),
    args: [folderOf("folder"), optionsOf("unmountAll")],
    options: { at: 1, of: unmountOptions },
  },
  {
    name: "supportsIdMapping",
    call: (_, [folder]) => supportsIdMapping(folder as never),
    args: [folderOf("folder")],
  },
];

function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

import { types } from "node:util";
import { packAny } from "containerd-shim-protos";
import { TaskExitSchema } from "containerd-shim-protos/events";
import { Cgroup } from "containerd-shim-protos/shim/cgroup";
import {
  runProcess,
  type RunProcessOptions,
  startProcess,
  type StartProcessOptions,
} from "containerd-shim-protos/shim/process";
import { processOf, readSpec, resourcesOf, specJson } from "containerd-shim-protos/shim/spec";
import type { PublicFunction } from "./functions.js";
import { argument, isEmpty, isNoItems, left, type Options, optionsOf, signal } from "./options.js";

const NOWHERE = "/no/such/folder";
const any = (named: RegExp) => argument(packAny(TaskExitSchema, {}), named);
const path = (named: RegExp) => argument(NOWHERE, named, (value) => typeof value === "string");
const list = (named: RegExp) => argument([], named, (value) => left(value) || isNoItems(value));
const programOptions = {
  cwd: argument("/", /cwd/, (value) => left(value) || typeof value === "string"),
  env: argument({}, /env/, (value) => left(value) || isEmpty(value)),
  endsWithShim: argument(true, /endsWithShim/, (value) => left(value) || typeof value === "boolean"),
  signal,
};
const startProcessOptions: Options<StartProcessOptions> = { ...programOptions, stdio: list(/stdio/) };
const runProcessOptions: Options<RunProcessOptions> = {
  ...programOptions,
  input: argument(new Uint8Array(0), /input/, (value) => left(value) || types.isUint8Array(value)),
  maxOutputBytes: argument(0, /maxOutputBytes/, (value) => left(value) || value === 0),
};

/** A function that takes a program, its arguments and options. */
function startsProgram(
  name: string,
  optionsType: string,
  start: typeof startProcess | typeof runProcess,
  of: Options<StartProcessOptions> | Options<RunProcessOptions>,
): PublicFunction {
  return {
    name,
    optionsType,
    call: (_, [program, args, options]) => start(program as never, args as never, options as never),
    args: [
      argument("/no/such/program", /program/, (value) => value === "text"),
      list(/args/),
      optionsOf(name),
    ],
    options: { at: 2, of },
  };
}

/** The processes of a shim, their cgroups, and what they are started from. */
export const PROCESS_FUNCTIONS: readonly PublicFunction[] = [
  startsProgram("startProcess", "StartProcessOptions", startProcess, startProcessOptions),
  startsProgram("runProcess", "RunProcessOptions", runProcess, runProcessOptions),
  { name: "readSpec", call: (_, [bundle]) => readSpec(bundle as never), args: [path(/bundle/)] },
  { name: "processOf", call: (_, [spec]) => processOf(spec as never), args: [any(/spec/)] },
  { name: "resourcesOf", call: (_, [given]) => resourcesOf(given as never), args: [any(/resources/)] },
  {
    name: "specJson",
    call: (_, [value]) => specJson(value as never),
    args: [argument({}, /value/, isEmpty)],
  },
  // The only static methods that take a process or a path; a cgroup that is not there moves nothing.
  { name: "Cgroup", call: (_, [pid]) => Cgroup.of(pid as never), args: [argument(process.pid, /pid/)] },
  { name: "Cgroup.at", call: (_, [at]) => Cgroup.at(at as never), args: [path(/path/)] },
  {
    name: "Cgroup.add",
    call: (_, [pid]) => Cgroup.at(NOWHERE).add(pid as never),
    args: [argument(4_194_305, /pid/)],
  },
  {
    name: "Cgroup.watchOom",
    call: (_, [onKill]) =>
      Cgroup.at(NOWHERE)
        .watchOom(onKill as never)
        .close(),
    args: [
      argument(
        () => () => undefined,
        /onKill/,
        (value) => typeof value === "function",
      ),
    ],
  },
];

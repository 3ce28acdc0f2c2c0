import type { Command, Option } from "commander";
import { loadRegistry, servicesOf, typesOf } from "../schema/schema.js";
import type { SchemaOptions } from "../schema/options.js";
import { findSandboxes, findSockets, findTasks } from "../../shims/bundles.js";
import { SOCKETS } from "../../shims/list.js";
import { tasksAt } from "../../shims/target.js";
import { type PlaceOptions, placesIn } from "../target.js";

/** The candidates for a word: some words, or `files` if the shell completes file names by itself. */
export type Candidates = readonly Candidate[] | "files";

/** A word, and a short description of it. */
export interface Candidate {
  readonly word: string;
  readonly about: string;
}

/** The candidates for the last of some words typed after `shimctl`. */
export async function candidates(shimctl: Command, words: readonly string[]): Promise<Candidates> {
  const current = words.at(-1) ?? "";
  const typed = parse(shimctl, words.slice(0, -1));
  if (typed.awaiting !== undefined) return valuesOf(typed.awaiting);
  if (current.startsWith("-"))
    return [...optionsOf(typed.command), ...globalOptionsOf(shimctl, typed.command)];
  if (typed.command === shimctl) {
    return shimctl
      .createHelp()
      .visibleCommands(shimctl)
      .map((command) => ({ word: command.name(), about: command.description() }));
  }
  const { registeredArguments: all } = typed.command;
  const last = all.at(-1);
  const argument = all[typed.positional.length] ?? (last?.variadic === true ? last : undefined);
  if (argument?.argChoices !== undefined) return argument.argChoices.map((word) => ({ word, about: "" }));
  const { state } = placesIn(typed.places);
  switch (argument?.name()) {
    case "target":
      return current.startsWith("/") || current.startsWith(".") ? "files" : targets(state, typed.namespace);
    case "dir":
    case "listen":
    case "data":
    case "script":
      return "files";
    case "id":
      return ids(state, typed.positional[0], typed.namespace);
    case "service/method":
      return orByLastParts(await methods(typed.schema), current);
    case "names":
      return orByLastParts(await names(typed.schema), current);
    default:
      return [];
  }
}

/** The words before the current one, parsed. */
interface Typed {
  readonly command: Command;
  /** The arguments that are not options. */
  readonly positional: readonly string[];
  /** The option whose value comes next. */
  readonly awaiting: Option | undefined;
  readonly schema: SchemaOptions;
  readonly places: PlaceOptions;
  readonly namespace: string | undefined;
}

function parse(shimctl: Command, words: readonly string[]): Typed {
  let command = shimctl;
  let awaiting: Option | undefined;
  const positional: string[] = [];
  const given: Record<string, string[]> = {};
  for (const word of words) {
    if (awaiting !== undefined) {
      (given[awaiting.attributeName()] ??= []).push(word);
      awaiting = undefined;
    } else if (word.startsWith("-") && word !== "-") {
      const [flag, value] = word.split("=", 2);
      const options = [...command.options, ...shimctl.options];
      const option = options.find(({ long, short }) => long === flag || short === flag);
      if (value !== undefined && option !== undefined) (given[option.attributeName()] ??= []).push(value);
      else if (option?.required) awaiting = option;
    } else if (command === shimctl) {
      command = shimctl.commands.find((each) => each.name() === word) ?? shimctl;
    } else {
      positional.push(word);
    }
  }
  const last = (name: string) => given[name]?.at(-1);
  const places = {
    state: last("state") ?? process.env["CONTAINERD_STATE"],
    address: last("address") ?? process.env["CONTAINERD_ADDRESS"],
  };
  const namespace = last("namespace") ?? process.env["CONTAINERD_NAMESPACE"];
  return { command, positional, awaiting, schema: given, places, namespace };
}

function valuesOf(option: Option): Candidates {
  if (option.argChoices !== undefined) return option.argChoices.map((word) => ({ word, about: "" }));
  return /<(file|dir|path)>/.test(option.flags) ? "files" : [];
}

function optionsOf(command: Command): Candidate[] {
  return command
    .createHelp()
    .visibleOptions(command)
    .map(({ long, short, description }) => ({ word: long ?? short ?? "", about: description }));
}

/** The options of the program itself that may follow a command. */
const GLOBAL: ReadonlySet<string> = new Set(["--state", "--address", "--namespace"]);

function globalOptionsOf(shimctl: Command, command: Command): Candidate[] {
  return command === shimctl ? [] : optionsOf(shimctl).filter(({ word }) => GLOBAL.has(word));
}

/** The ids of containers, then the addresses of shims. */
function targets(state: string, namespace: string | undefined): Candidate[] {
  const about = new Map<string, string>();
  const tasks = findTasks(state);
  const sandboxes = findSandboxes(state);
  for (const { namespace: where, id, isSandbox } of [...sandboxes, ...tasks]) {
    if (namespace !== undefined && where !== namespace) continue;
    about.set(id, isSandbox ? `a sandbox in ${where}` : `in ${where}`);
  }
  for (const { address = "" } of findSockets(SOCKETS)) about.set(address, "a socket without a task");
  for (const { address, namespace: where, id } of [...sandboxes, ...tasks]) {
    if (address !== undefined) about.set(address, `${where}/${id}`);
  }
  return [...about].map(([word, text]) => ({ word, about: text }));
}

function ids(state: string, address: string | undefined, namespace: string | undefined): Candidate[] {
  const tasks = address === undefined ? findTasks(state, namespace) : tasksAt(address, { state, namespace });
  return tasks.map(({ id, namespace: where }) => ({ word: id, about: `in ${where}` }));
}

async function methods(schema: SchemaOptions): Promise<Candidate[]> {
  return servicesOf(await loadRegistry(schema)).flatMap(({ typeName, methods: all }) =>
    all.map(({ name, methodKind }) => ({ word: `${typeName}/${name}`, about: methodKind.replace("_", " ") })),
  );
}

async function names(schema: SchemaOptions): Promise<Candidate[]> {
  const types = typesOf(await loadRegistry(schema)).map(({ typeName, kind }) => ({
    word: typeName,
    about: kind,
  }));
  return [...types, ...(await methods(schema))];
}

/** The candidates, or if none begins like the current word, those of their last parts that do: `v2.Task/State`. */
function orByLastParts(all: readonly Candidate[], current: string): readonly Candidate[] {
  if (all.some(({ word }) => word.startsWith(current))) return all;
  const found = new Map<string, Candidate>();
  for (const { word, about } of all) {
    for (let dot = word.indexOf("."); dot !== -1; dot = word.indexOf(".", dot + 1)) {
      const last = word.slice(dot + 1);
      if (last.startsWith(current)) found.set(last, { word: last, about });
    }
  }
  return [...found.values()];
}

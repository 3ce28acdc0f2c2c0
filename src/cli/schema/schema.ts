import {
  createRegistry,
  type DescEnum,
  type DescMessage,
  type DescMethod,
  type DescService,
  type Registry,
} from "@bufbuild/protobuf";
import { UsageError } from "../errors.js";
import { readFile } from "../files.js";
import type { SchemaOptions } from "./options.js";
import { WELL_KNOWN_FILES } from "./well-known.js";

let loaded: Registry | undefined;

/** The types that the running command has loaded; the bundled ones if it has loaded none. */
export async function registryInUse(): Promise<Registry> {
  return loaded ?? loadRegistry({});
}

/** Whether options name the user's own types. */
export function namesSchema({ proto = [], descriptorSet = [] }: SchemaOptions): boolean {
  return proto.length > 0 || descriptorSet.length > 0;
}

/** The bundled types, protobuf's own, and those that the options name. */
export async function loadRegistry(options: SchemaOptions): Promise<Registry> {
  const { registry: bundled } = await import("../../protos/registry.js");
  const { proto = [], importPath = [], descriptorSet = [] } = options;
  const own: Registry[] = [];
  if (proto.length > 0) {
    const { registryOfProtos } = await import("./proto.js");
    own.push(registryOfProtos(proto, importPath));
  }
  if (descriptorSet.length > 0) {
    const { registryOfSet } = await import("./files.js");
    for (const file of descriptorSet) own.push(registryOfSet(readFile(file), file));
  }
  // Of several types with one name, the last counts.
  loaded = createRegistry(...WELL_KNOWN_FILES.values(), bundled, ...own);
  return loaded;
}

/** `SERVICE/METHOD` or `SERVICE.METHOD`, split. Throws a UsageError if it is neither. */
export function splitRoute(route: string): { service: string; method: string } {
  const at = route.includes("/") ? route.lastIndexOf("/") : route.lastIndexOf(".");
  if (at < 1 || at === route.length - 1) {
    throw new UsageError(
      `${JSON.stringify(route)} is not SERVICE/METHOD`,
      "`shimctl describe`, which lists all",
    );
  }
  return { service: route.slice(0, at), method: route.slice(at + 1) };
}

/** The method of a route. The last parts of a service's name will do, if no other service has them. */
export function findMethod(registry: Registry, route: string): DescMethod {
  const { service: serviceName, method: methodName } = splitRoute(route);
  const service = findService(registry, serviceName);
  const method = service.methods.find(({ name }) => name === methodName);
  if (method !== undefined) return method;
  const names = service.methods.map(({ name }) => name).join(", ");
  throw new UsageError(`${service.typeName} has no method ${methodName}`, `one of ${names}`);
}

const TASKS = ["containerd.task.v2.Task", "containerd.task.v3.Task"];

/**
 * The name of a method of the Task service without its version, such as `State`, if a route leaves the version open.
 */
export function unversionedTaskMethod(registry: Registry, route: string): string | undefined {
  const { service, method } = splitRoute(route);
  const found = byName(registry, service).filter((type) => type.kind === "service");
  const isTask = found.length === TASKS.length && found.every(({ typeName }) => TASKS.includes(typeName));
  return isTask ? method : undefined;
}

/** The service with this name. */
function findService(registry: Registry, name: string): DescService {
  const found = byName(registry, name).filter((type) => type.kind === "service");
  return only(found, "service", name);
}

/** The service, message, enum or method with this name. */
export function findNamed(registry: Registry, name: string): NamedType | DescMethod {
  if (name.includes("/")) return findMethod(registry, name);
  const found = byName(registry, name);
  const isRoute = found.length === 0 && /[^.]\.[^.]+$/.test(name);
  if (isRoute && byName(registry, splitRoute(name).service).some(({ kind }) => kind === "service")) {
    return findMethod(registry, name);
  }
  return only(found, "service or message", name);
}

/** A type that can be described. */
export type NamedType = DescService | DescMessage | DescEnum;

/** All services, messages and enums by name. */
export function typesOf(registry: Registry): NamedType[] {
  return [...registry]
    .filter((type) => type.kind !== "extension")
    .toSorted((a, b) => (a.typeName < b.typeName ? -1 : 1));
}

/** All services by name. */
export function servicesOf(registry: Registry): DescService[] {
  return typesOf(registry).filter((type) => type.kind === "service");
}

function byName(registry: Registry, name: string): NamedType[] {
  const types = typesOf(registry);
  const exact = types.filter(({ typeName }) => typeName === name);
  return exact.length > 0 ? exact : types.filter(({ typeName }) => typeName.endsWith(`.${name}`));
}

function only<T extends NamedType>(found: readonly T[], what: string, name: string): T {
  const [first, second] = found;
  if (first === undefined) {
    throw new UsageError(
      `there is no ${what} ${name}`,
      "`shimctl describe`, which lists all, or --proto with the file that has it",
    );
  }
  if (second !== undefined) {
    const names = found.map(({ typeName }) => typeName).join(", ");
    throw new UsageError(`${name} is ambiguous`, `one of ${names}`);
  }
  return first;
}

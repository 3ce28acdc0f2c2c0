import { TextDecoder } from "node:util";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Any } from "@bufbuild/protobuf/wkt";
import { checkBytes, isBytes, isPlain, kindOf } from "../../value-kinds.js";
import { parseJson } from "./json.js";
import type { LinuxResources } from "./linux.js";
import type { Process, Spec } from "./types.js";

/**
 * Reads the `config.json` of a bundle.
 *
 * ```ts
 * const { process, annotations = {} } = readSpec(request.bundle);
 * ```
 *
 * Throws the system's error if there is no such file, and an Error that names the file if it does not hold a JSON object.
 * What the object holds is not checked: the runtime does that. Pass it on with {@link specJson}, which keeps large
 * numbers exact.
 */
export function readSpec(bundle: string): Spec {
  if (typeof bundle !== "string") throw new TypeError(`bundle must be a path, not ${kindOf(bundle)}`);
  const file = join(bundle, "config.json");
  return parsed(readFileSync(file, "utf8"), file) as unknown as Spec;
}

/**
 * Reads the process that an exec must start, from `ExecProcessRequest.spec`.
 *
 * ```ts
 * const { args = [], cwd, env = [] } = processOf(request.spec);
 * ```
 *
 * Throws an Error if `spec` is undefined, or does not hold a JSON object. What the object holds is not checked.
 */
export function processOf(spec: Any | undefined): Process {
  return parsed(textOf(spec, "spec"), "the spec of an exec") as unknown as Process;
}

/**
 * Reads the limits that an update must set, from `UpdateTaskRequest.resources`.
 *
 * ```ts
 * const { memory, cpu } = resourcesOf(request.resources);
 * ```
 *
 * Throws as {@link processOf} does.
 */
export function resourcesOf(resources: Any | undefined): LinuxResources {
  return parsed(textOf(resources, "resources"), "the resources of an update") as LinuxResources;
}

/** containerd sends the specification's types as JSON, in an Any of a type that has no descriptor. */
function textOf(any: Any | undefined, name: string): string {
  const bytes: unknown = isPlain(any) ? any["value"] : undefined;
  if (!isBytes(bytes)) throw new TypeError(`${name} must be an Any, not ${kindOf(any)}`);
  checkBytes(bytes, `${name}.value`);
  return new TextDecoder().decode(bytes);
}

function parsed(text: string, what: string): object {
  let value: unknown;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw new Error(`${what} is not JSON: ${(cause as Error).message}`, { cause });
  }
  if (!isPlain(value)) throw new Error(`${what} must be a JSON object, not ${kindOf(value)}`);
  return value;
}

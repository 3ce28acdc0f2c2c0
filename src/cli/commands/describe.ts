import type { Registry } from "@bufbuild/protobuf";
import { print, styled } from "../output/stdout.js";
import { definition, methodText, type Palette } from "../schema/print.js";
import type { Text } from "../output/text.js";
import { findMethod, findType, loadRegistry, servicesOf } from "../schema/schema.js";
import type { SchemaOptions } from "../schema/options.js";

const PALETTE: Palette = {
  keyword: (text) => styled("magenta", text),
  name: (text) => styled("bold", text),
};

/** Prints the definitions of services, methods, messages and enums; those of all services if none is named. */
export async function describe(names: readonly string[], options: SchemaOptions): Promise<void> {
  const registry = await loadRegistry(options);
  const texts =
    names.length === 0
      ? servicesOf(registry).map((service) => definition(service, PALETTE))
      : names.flatMap((name) => textsOf(registry, name));
  const [first = [], ...others] = texts;
  await print(first);
  for (const lines of others) await print(["", ...lines]);
}

function textsOf(registry: Registry, name: string): Text[][] {
  if (!name.includes("/")) return [definition(findType(registry, name), PALETTE)];
  const method = findMethod(registry, name);
  const messages = new Set([method.input, method.output]);
  return [[methodText(method, PALETTE)], ...[...messages].map((type) => definition(type, PALETTE))];
}

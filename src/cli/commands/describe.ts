import type { DescMethod } from "@bufbuild/protobuf";
import { jsonLine } from "../output/json.js";
import { print, styled } from "../output/stdout.js";
import type { Text } from "../output/text.js";
import { definitionJson } from "../schema/definition-json.js";
import type { SchemaOptions } from "../schema/options.js";
import { definition, methodText, type Palette } from "../schema/print.js";
import { findNamed, loadRegistry, type NamedType, servicesOf } from "../schema/schema.js";

/** The options of `shimctl describe`. */
export interface DescribeOptions extends SchemaOptions {
  readonly json?: boolean;
}

const PALETTE: Palette = {
  keyword: (text) => styled("magenta", text),
  name: (text) => styled("bold", text),
};

/** Prints the definitions of services, methods, messages and enums; those of all services if none is named. */
export async function describe(names: readonly string[], options: DescribeOptions): Promise<void> {
  const registry = await loadRegistry(options);
  const found = names.map((name) => findNamed(registry, name));
  const named = (names.length === 0 ? servicesOf(registry) : found).flatMap((one) => withMessages(one));
  if (options.json) {
    await print(named.map((type) => jsonLine(definitionJson(type))));
    return;
  }
  const [first = [], ...others] = named.map((type) => textOf(type));
  await print(first);
  for (const lines of others) await print(["", ...lines]);
}

/** A method with its messages. */
function withMessages(named: NamedType | DescMethod): (NamedType | DescMethod)[] {
  return named.kind === "rpc" ? [named, ...new Set([named.input, named.output])] : [named];
}

function textOf(named: NamedType | DescMethod): Text[] {
  return named.kind === "rpc" ? [methodText(named, PALETTE)] : definition(named, PALETTE);
}

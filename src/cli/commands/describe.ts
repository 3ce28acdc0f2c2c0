import { onTerminal, print, styled } from "../output/stdout.js";
import { definition, methodText, type Palette } from "../schema/print.js";
import { findMethod, findType, loadRegistry, servicesOf } from "../schema/schema.js";
import type { SchemaOptions } from "../schema/options.js";

const PALETTE: Palette = {
  keyword: (text) => styled("magenta", text),
  name: (text) => styled("bold", text),
};

/** Prints the definition of a service, method, message or enum; without a name those of all services. */
export async function describe(name: string | undefined, options: SchemaOptions): Promise<void> {
  const registry = await loadRegistry(options);
  if (name === undefined) {
    const services = servicesOf(registry).map((service) => definition(service, PALETTE));
    await print(services.join("\n\n"));
    if (onTerminal()) await print(styled("dim", "\nshimctl describe SERVICE/METHOD prints the messages of a method."));
    return;
  }
  if (!name.includes("/")) return print(definition(findType(registry, name), PALETTE));
  const method = findMethod(registry, name);
  const messages = new Set([method.input, method.output]);
  const texts = [methodText(method, PALETTE), ...[...messages].map((type) => definition(type, PALETTE))];
  await print(texts.join("\n\n"));
}

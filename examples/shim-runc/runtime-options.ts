import { readFileSync } from "node:fs";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { unpackAny } from "containerd-shim-protos";
import { type Options, OptionsSchema } from "containerd-shim-protos/runc";
import { OptionsSchema as RuntimeOptionsSchema } from "containerd-shim-protos/runtimeoptions";
import { parse } from "smol-toml";

/**
 * The options of a container. containerd's clients send runc's own message; its CRI plugin sends the handler's table of
 * its configuration as TOML, and so does Docker with a runtime's options. Throws an Error that names the option that is
 * wrong.
 */
export function optionsOf(any: Any | undefined): Options {
  if (any === undefined) return create(OptionsSchema);
  const options = unpackAny(any, OptionsSchema);
  if (options !== undefined) return options;
  const generic = unpackAny(any, RuntimeOptionsSchema);
  if (generic === undefined) throw new Error(`options of type ${any.typeUrl} are not known`);
  const { configBody, configPath } = generic;
  if (configBody.length > 0) return fromToml(new TextDecoder().decode(configBody), "the runtime's options");
  if (configPath !== "") return fromToml(readFileSync(configPath, "utf8"), configPath);
  return create(OptionsSchema);
}

/** Keys are matched as containerd matches them, in any case and with or without underscores. Others are left alone. */
function fromToml(text: string, where: string): Options {
  let table: Record<string, unknown>;
  try {
    table = parse(text);
  } catch (cause) {
    throw new Error(`${where} are not TOML: ${(cause as Error).message}`, { cause });
  }
  const fields = new Map(OptionsSchema.fields.map((field) => [plain(field.name), field]));
  const init: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(table)) {
    const field = fields.get(plain(key));
    if (field === undefined) continue;
    const sample = create(OptionsSchema)[field.localName as keyof Options];
    if (typeof value !== typeof sample) {
      throw new Error(`${key} of ${where} must be a ${typeof sample}, not ${JSON.stringify(value)}`);
    }
    init[field.localName] = value;
  }
  return create(OptionsSchema, init as MessageInitShape<typeof OptionsSchema>);
}

const plain = (name: string) => name.toLowerCase().replaceAll("_", "");

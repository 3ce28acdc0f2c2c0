import { readFileSync } from "node:fs";
import { create, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { Any } from "@bufbuild/protobuf/wkt";
import { unpackAny } from "containerd-shim-protos";
import {
  type CheckpointOptions,
  CheckpointOptionsSchema,
  type Options,
  OptionsSchema,
} from "containerd-shim-protos/runc";
import { OptionsSchema as RuntimeOptionsSchema } from "containerd-shim-protos/runtimeoptions";
import type { StartRequest } from "containerd-shim-protos/shim";
import { parse } from "smol-toml";
import { invalidArgument } from "./errors.js";

/**
 * The options of a container. containerd's clients send runc's own message; its CRI plugin sends the handler's table of
 * its configuration as TOML, and so does Docker with a runtime's options. Throws an Error that names the option that is
 * wrong.
 */
export function optionsOf(any: Any | undefined): Options {
  if (isNone(any)) return create(OptionsSchema);
  const options = unpackAny(any, OptionsSchema);
  if (options !== undefined) return options;
  const generic = unpackAny(any, RuntimeOptionsSchema);
  if (generic === undefined) throw notKnown("options", any);
  const { configBody, configPath } = generic;
  if (configBody.length > 0) return fromToml(new TextDecoder().decode(configBody), "the runtime's options");
  if (configPath !== "") return fromToml(readFileSync(configPath, "utf8"), configPath);
  return create(OptionsSchema);
}

/**
 * The options that a shim starts with. From 2.3 on containerd may pass other things beside them or in their place, which are
 * none of this shim's business; options of an unknown type are refused by Create.
 */
export function startOptionsOf({ options, params }: Pick<StartRequest, "options" | "params">): Options {
  const given = params === undefined ? [options] : params.extensions.map(({ value }) => value);
  return optionsOf(given.find(isKnown));
}

const isKnown = (any: Any | undefined) =>
  any !== undefined && (unpackAny(any, OptionsSchema) ?? unpackAny(any, RuntimeOptionsSchema)) !== undefined;

/** The options of a checkpoint. Throws InvalidArgument for those of another type: to ignore them would let the container run. */
export function checkpointOptionsOf(any: Any | undefined): CheckpointOptions {
  if (isNone(any)) return create(CheckpointOptionsSchema);
  const options = unpackAny(any, CheckpointOptionsSchema);
  if (options === undefined) throw notKnown("options of a checkpoint", any);
  return options;
}

/** `CheckpointOptions.parent_path` of containerd 2.3 and later: the checkpoint that this one builds on. */
export const parentPathOf = (options: CheckpointOptions) => unknownText(options, 10);

/** `Options.criu_path` of containerd 1.x: the criu that runc is to use. */
export const criuPathOf = (options: Options) => unknownText(options, 8);

/** A field that the messages of the Rust crate do not have; empty if it is left out. */
function unknownText({ $unknown = [] }: Message, number: number): string {
  const field = $unknown.findLast(
    ({ no, wireType }) => no === number && wireType === WireType.LengthDelimited,
  );
  return field === undefined ? "" : new BinaryReader(field.data).string();
}

/** Nothing was said, whatever its type: so containerd's own shim takes it. */
const isNone = (any: Any | undefined): any is undefined => any === undefined || any.value.length === 0;

const notKnown = (what: string, { typeUrl }: Any) =>
  invalidArgument(`${what} of type ${JSON.stringify(typeUrl)} are not known`);

/** Keys are matched as containerd matches them, in any case and with or without underscores. Others are left alone. */
function fromToml(text: string, where: string): Options {
  let table: Record<string, unknown>;
  try {
    table = parse(text);
  } catch (cause) {
    throw invalidArgument(`${where} are not TOML: ${(cause as Error).message}`);
  }
  const fields = new Map(OptionsSchema.fields.map((field) => [plain(field.name), field]));
  const init: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(table)) {
    const field = fields.get(plain(key));
    if (field === undefined) continue;
    const sample = create(OptionsSchema)[field.localName as keyof Options];
    if (typeof value !== typeof sample) {
      throw invalidArgument(`${key} of ${where} must be a ${typeof sample}, not ${JSON.stringify(value)}`);
    }
    init[field.localName] = value;
  }
  return create(OptionsSchema, init as MessageInitShape<typeof OptionsSchema>);
}

const plain = (name: string) => name.toLowerCase().replaceAll("_", "");

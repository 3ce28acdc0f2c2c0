import type { DescField, DescMessage, Message } from "@bufbuild/protobuf";
import { protobufEs } from "#protobuf";
import { isOwnMessage } from "../descriptors/file.js";
import { ScalarType } from "./scalar-type.js";
import { IMPLICIT, longAsString } from "./wire-types.js";

/** Makes a message of a type in which nothing is set. */
export type MakeMessage = () => Message;

const makers = new WeakMap<DescMessage, MakeMessage>();

/** Makes a message in which nothing is set, as protobuf-es's create() does. */
export function make(desc: DescMessage): Message {
  return makerOf(desc)();
}

/** The function that makes messages of a type. */
export function makerOf(desc: DescMessage): MakeMessage {
  let maker = makers.get(desc);
  if (maker === undefined) {
    maker = isOwnMessage(desc) ? ownMaker(desc) : createOf(desc);
    makers.set(desc, maker);
  }
  return maker;
}

function createOf(desc: DescMessage): MakeMessage {
  const { create } = protobufEs();
  return () => create(desc);
}

/** Messages of proto3 are plain objects: they need no prototype with the defaults of unset fields. */
function ownMaker({ typeName, members }: DescMessage): MakeMessage {
  const values = members.flatMap((member) => {
    const initial = member.kind === "oneof" ? noCase : initialOf(member);
    return initial === undefined ? [] : [{ name: member.localName, initial }];
  });
  return () => {
    const message: Record<string, unknown> = { $typeName: typeName };
    for (const { name, initial } of values) message[name] = initial();
    return message as unknown as Message;
  };
}

const noCase = () => ({ case: undefined });

/** Gives the value of a field that is not set; undefined if the message has no such property then. */
function initialOf(field: DescField): (() => unknown) | undefined {
  if (field.fieldKind === "list") return () => [];
  if (field.fieldKind === "map") return () => ({});
  if (field.fieldKind === "message" || field.presence !== IMPLICIT) return undefined;
  // All messages share an empty Uint8Array, as in protobuf-es.
  const zero =
    field.fieldKind === "enum" ? field.enum.values[0]?.number : zeroOf(field.scalar, longAsString(field));
  return () => zero;
}

/** The value of a scalar that is not set. */
export function zeroOf(type: ScalarType, asString = false): unknown {
  switch (type) {
    case ScalarType.STRING:
      return "";
    case ScalarType.BOOL:
      return false;
    case ScalarType.BYTES:
      return new Uint8Array(0);
    case ScalarType.INT64:
    case ScalarType.UINT64:
    case ScalarType.SINT64:
    case ScalarType.FIXED64:
    case ScalarType.SFIXED64:
      return asString ? "0" : 0n;
    default:
      return 0;
  }
}

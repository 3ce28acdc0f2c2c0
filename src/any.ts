import type { DescMessage, Message, MessageInitShape, MessageShape, Registry } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { decode, encode } from "./codec/codec.js";
import { addFrames, nameRefusal } from "./error.js";
import { checkedString } from "./options.js";
import { checkBytes, checkDescriptor, isDescriptor, isPlain, kindOf } from "./value-kinds.js";

/**
 * Packs a message as containerd does: `typeUrl` is the message's full name, without a prefix.
 *
 * ```ts
 * const event = packAny(TaskStartSchema, { containerId: "web", pid: 4242 });
 * ```
 *
 * Throws a TypeError that names the wrong argument, or the wrong field of the message.
 */
export function packAny<Desc extends DescMessage>(schema: Desc, message: MessageInitShape<Desc>): Any {
  checkDescriptor(schema, "message", "schema");
  const { typeName: typeUrl } = schema;
  try {
    return { $typeName: "google.protobuf.Any", typeUrl, value: encode(schema, message) };
  } catch (error) {
    nameRefusal(error, typeUrl);
    addFrames(error, packAny);
    throw error;
  }
}

/**
 * Unpacks an Any if it holds a message of this type; otherwise returns undefined. As in containerd, only the last
 * segment of `typeUrl` counts, so the prefix that Rust and C++ write makes no difference.
 *
 * Throws a TypeError that names a wrong argument, and a {@link TtrpcError} if the type matches but the bytes do not
 * decode: with code `Internal`, or with `ResourceExhausted` if the message's objects would take more than 64 MiB, not
 * counting its strings and bytes.
 */
export function unpackAny<Desc extends DescMessage>(any: Any, schema: Desc): MessageShape<Desc> | undefined;
/**
 * Unpacks an Any that holds a message of any type in the registry; returns undefined if the registry does not have the
 * type. `containerd-shim-protos/registry` has all of containerd's types.
 *
 * ```ts
 * const event = unpackAny(envelope.event, registry);
 * if (isMessage(event, TaskExitSchema)) console.log(event.exitStatus);
 * ```
 */
export function unpackAny(any: Any, registry: Registry): Message | undefined;
export function unpackAny(any: Any, types: DescMessage | Registry): Message | undefined {
  checkAny(any);
  const isRegistry = isDescriptor(types, "registry");
  if (!isRegistry && !isDescriptor(types, "message")) {
    throw new TypeError(
      `schema must be a message descriptor, or a registry, of protobuf-es, not ${kindOf(types)}`,
    );
  }
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  const schema = types.kind === "registry" ? types.getMessage(name) : types;
  return name === schema?.typeName ? decode(schema, any.value) : undefined;
}

/** Checks an Any, which may also be a plain object with its fields. Throws a TypeError that names what is wrong. */
export function checkAny(any: Any, name = "any"): void {
  if (!isPlain(any)) throw new TypeError(`${name} must be a google.protobuf.Any, not ${kindOf(any)}`);
  const { typeUrl, value } = any as Partial<Any>;
  checkedString(typeUrl, `${name}.typeUrl`);
  checkBytes(value, `${name}.value`);
}

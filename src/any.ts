import {
  create,
  type DescMessage,
  type Message,
  type MessageInitShape,
  type MessageShape,
  type Registry,
} from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { decode, encode } from "./codec/codec.js";

/**
 * Packs a message as containerd does: the type is the message's full name, without a prefix.
 *
 * ```ts
 * const event = packAny(TaskStartSchema, { containerId: "web", pid: 4242 });
 * ```
 */
export function packAny<Desc extends DescMessage>(schema: Desc, message: MessageInitShape<Desc>): Any {
  return create(AnySchema, { typeUrl: schema.typeName, value: encode(schema, message) });
}

/**
 * Unpacks an Any if it holds a message of this type; otherwise returns undefined. As containerd reads it, only the
 * last segment of the type's path counts, so the prefix that Rust and C++ write makes no difference.
 *
 * Throws if the type fits and the bytes do not decode.
 */
export function unpackAny<Desc extends DescMessage>(any: Any, schema: Desc): MessageShape<Desc> | undefined;
/**
 * Unpacks an Any that holds a message of whichever type the registry has; returns undefined if it has none of that
 * name. `containerd-shim-protos/registry` has all of containerd's.
 *
 * ```ts
 * const event = unpackAny(envelope.event, registry);
 * if (isMessage(event, TaskExitSchema)) console.log(event.exitStatus);
 * ```
 */
export function unpackAny(any: Any, registry: Registry): Message | undefined;
export function unpackAny(any: Any, types: DescMessage | Registry): Message | undefined {
  const name = any.typeUrl.slice(any.typeUrl.lastIndexOf("/") + 1);
  const schema = types.kind === "registry" ? types.getMessage(name) : types;
  return name === schema?.typeName ? decode(schema, any.value) : undefined;
}

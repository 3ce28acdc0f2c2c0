import { Buffer } from "node:buffer";
import { basename, dirname } from "node:path";
import type { Any } from "@bufbuild/protobuf/wkt";
import { AnySchema } from "../descriptors/well-known.js";
import { type BootstrapParams, BootstrapParamsSchema, BootstrapResultSchema } from "../protos/bootstrap.js";
import { decode, encode } from "../codec/codec.js";
import { SANDBOXES } from "../sandboxes.js";

/** What containerd writes to the stdin of `start`. */
export interface Bootstrap {
  /** Set by containerd 2.3 and later, which reads a protobuf answer; older ones read the plain address. */
  readonly params: BootstrapParams | undefined;
  /** The runtime's options, from containerd's configuration or its client. */
  readonly options: Any | undefined;
}

/**
 * Reads what containerd wrote. Up to version 2.2 that is nothing, or the runtime's options as a bare Any. An Any also
 * decodes as BootstrapParams, because its type and value have the field numbers of the id and the namespace. So a
 * message with just these two fields is an Any, unless they are this shim's own id and namespace.
 */
export function readBootstrap(
  input: Uint8Array,
  { id, namespace }: { readonly id: string; readonly namespace: string },
): Bootstrap {
  if (input.length === 0) return { params: undefined, options: undefined };
  const params = decoded(() => decode(BootstrapParamsSchema, input));
  if (params?.instanceId === id && params.namespace === namespace) {
    const options = params.extensions.find(({ value }) => value !== undefined)?.value;
    return { params, options };
  }
  const { instanceId = "", namespace: other = "" } = params ?? {};
  const two = encode(BootstrapParamsSchema, { instanceId, namespace: other });
  if (params !== undefined && two.length < input.length) {
    throw new Error(`stdin is for ${instanceId} in namespace ${other}, not for ${id} in ${namespace}`);
  }
  const options = decoded(() => decode(AnySchema, input));
  if (options === undefined || options.typeUrl === "") {
    throw new Error("stdin holds neither bootstrap parameters nor a runtime's options");
  }
  return { params: undefined, options };
}

/**
 * What `start` writes to stdout, in the form that this version of containerd reads. From 2.0 to 2.2 that is the plain address or
 * JSON, and containerd sends the containers of a sandbox to its shim only if that has named version 3 of the protocol.
 */
export function writeBootstrap({ params }: Bootstrap, address: string, bundle: string): Uint8Array {
  const result = { version: 3, address, protocol: "ttrpc" };
  if (params !== undefined) return encode(BootstrapResultSchema, result);
  const isSandbox = basename(dirname(dirname(bundle))) === SANDBOXES;
  return Buffer.from(isSandbox ? JSON.stringify(result) : address);
}

function decoded<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

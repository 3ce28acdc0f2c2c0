/**
 * containerd's shim protocol and ttrpc for Node.js.
 *
 * @module
 */

export type { Address } from "./address.js";
export { packAny, unpackAny } from "./any.js";
export type { CallOptions, SyncCallOptions } from "./call.js";
export { Code, codeName } from "./code.js";
export { connect, Connection, type ConnectOptions } from "./connection.js";
export { TtrpcError, type TtrpcErrorOptions } from "./error.js";
export type { Metadata, MetadataInit } from "./metadata.js";
export type { PeerCredentials } from "./port/port.js";
export type { ConnectionClosed } from "./port/reader.js";

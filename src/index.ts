/**
 * containerd's shim protocol and ttrpc for Node.js.
 *
 * @module
 */

import { loadNative } from "./native.js";

export type { Address } from "./address.js";
export { packAny, unpackAny } from "./any.js";
export type { CallOptions, SyncCallOptions } from "./call.js";
export { type Client, type ClientOptions, createClient } from "./client.js";
export { Code, codeName } from "./code.js";
export { connect, Connection, type ConnectOptions } from "./connection.js";
export { HandlerContext, type ServerConnection } from "./context.js";
export type { CallMessage, ConnectionMessage } from "./diagnostics.js";
export { TtrpcError, type TtrpcErrorOptions } from "./error.js";
export type {
  ClientCall,
  ClientInterceptor,
  MethodKind,
  ServerCall,
  ServerInterceptor,
} from "./interceptor.js";
export type { Metadata, MetadataInit } from "./metadata.js";
export type { Driver } from "./port/driver.js";
export type { PeerCredentials } from "./port/types.js";
export type { ConnectionClosed } from "./port/reader.js";
export type { ReconnectOptions } from "./reconnect.js";
export {
  type CloseOptions,
  createServer,
  type ListenOptions,
  Server,
  type ServerEvents,
  type ServerOptions,
} from "./server.js";
export type { RawMethod, RawMethods, ServiceImpl } from "./service.js";
export {
  connectSync,
  createSyncClient,
  type SyncClient,
  SyncConnection,
  type SyncConnectOptions,
} from "./sync.js";

// With the package, so that an addon that is missing or of another version shows at once.
loadNative();

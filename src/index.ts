/**
 * containerd's shim protocol and ttrpc for Node.js.
 *
 * @module
 */

/// <reference types="node" preserve="true" />

import { loadNative } from "./native/addon.js";

export type { Address } from "./address.js";
export { packAny, unpackAny } from "./any.js";
export type { CallOptions, SyncCallOptions } from "./client/call-options.js";
export { type Client, type ClientOptions, createClient } from "./client/client.js";
export { Code, codeName } from "./code.js";
export {
  type ContextKey,
  type ContextKeyOptions,
  ContextValues,
  createContextKey,
  createContextValues,
} from "./context-values.js";
export { connect, type ConnectOptions } from "./client/connect.js";
export { Connection } from "./client/connection.js";
export { HandlerContext, type ServerConnection } from "./server/context.js";
export type { CallMessage, ConnectionMessage } from "./diagnostics.js";
export { TtrpcError, type TtrpcErrorOptions } from "./error.js";
export type {
  ClientBidiStreamingCall,
  ClientCall,
  ClientCallBase,
  ClientClientStreamingCall,
  ClientInterceptor,
  ClientNext,
  ClientServerStreamingCall,
  ClientUnaryCall,
  MethodKind,
  ReplyOf,
  ServerBidiStreamingCall,
  ServerCall,
  ServerCallBase,
  ServerClientStreamingCall,
  ServerInterceptor,
  ServerNext,
  ServerServerStreamingCall,
  ServerUnaryCall,
} from "./interceptor.js";
export type { Metadata, MetadataInit } from "./metadata.js";
export type { ConnectionClosed, Driver, PeerCredentials } from "./connection-types.js";
export { releasePayload } from "./release-payload.js";
export type { ReconnectOptions } from "./client/reconnect.js";
export type { CloseOptions, ListenOptions, ServerOptions } from "./server/options.js";
export { createServer, Server, type ServerEvents } from "./server/server.js";
export type { RawMethod, RawMethods, ServiceImpl } from "./server/service.js";
export {
  connectSync,
  createSyncClient,
  type SyncClient,
  SyncConnection,
  type SyncConnectOptions,
} from "./client/sync-client.js";

// Loaded with the package, so that a missing addon, or one of another version, fails at once.
loadNative();

import type { HeadersInit as Init } from "undici-types";

declare global {
  /** A type of the web that the declarations of @connectrpc/connect use, and those of Node.js 20 lack. */
  type HeadersInit = Init;
}

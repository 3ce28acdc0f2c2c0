import type { Any, Empty, Timestamp } from "@bufbuild/protobuf/wkt";
import type { DescFile } from "@bufbuild/protobuf";
import { protobufEs } from "#protobuf";
import { fileDesc, messageDesc } from "./file.js";

/**
 * The files of google.protobuf that containerd's import, as protobuf-es has them in `@bufbuild/protobuf/wkt`. Their
 * messages have the same types and names as those, so either takes messages of the other.
 */

const ANY =
  "Chlnb29nbGUvcHJvdG9idWYvYW55LnByb3RvEg9nb29nbGUucHJvdG9idWYiJgoDQW55EhAKCHR5cGVfdXJsGAEgASgJEg0KBXZhbHVlGAIgASgMQnYKE2NvbS5nb29nbGUucHJvdG9idWZCCEFueVByb3RvUAFaLGdvb2dsZS5nb2xhbmcub3JnL3Byb3RvYnVmL3R5cGVzL2tub3duL2FueXBiogIDR1BCqgIeR29vZ2xlLlByb3RvYnVmLldlbGxLbm93blR5cGVzYgZwcm90bzM";
const EMPTY =
  "Chtnb29nbGUvcHJvdG9idWYvZW1wdHkucHJvdG8SD2dvb2dsZS5wcm90b2J1ZiIHCgVFbXB0eUJ9ChNjb20uZ29vZ2xlLnByb3RvYnVmQgpFbXB0eVByb3RvUAFaLmdvb2dsZS5nb2xhbmcub3JnL3Byb3RvYnVmL3R5cGVzL2tub3duL2VtcHR5cGL4AQGiAgNHUEKqAh5Hb29nbGUuUHJvdG9idWYuV2VsbEtub3duVHlwZXNiBnByb3RvMw";
const TIMESTAMP =
  "Ch9nb29nbGUvcHJvdG9idWYvdGltZXN0YW1wLnByb3RvEg9nb29nbGUucHJvdG9idWYiKwoJVGltZXN0YW1wEg8KB3NlY29uZHMYASABKAMSDQoFbmFub3MYAiABKAVChQEKE2NvbS5nb29nbGUucHJvdG9idWZCDlRpbWVzdGFtcFByb3RvUAFaMmdvb2dsZS5nb2xhbmcub3JnL3Byb3RvYnVmL3R5cGVzL2tub3duL3RpbWVzdGFtcHBi+AEBogIDR1BCqgIeR29vZ2xlLlByb3RvYnVmLldlbGxLbm93blR5cGVzYgZwcm90bzM";

export const file_google_protobuf_any = fileDesc(ANY);
export const AnySchema = messageDesc<Any>(file_google_protobuf_any, 0);
export const file_google_protobuf_empty = fileDesc(EMPTY);
export const EmptySchema = messageDesc<Empty>(file_google_protobuf_empty, 0);
export const file_google_protobuf_timestamp = fileDesc(TIMESTAMP);
export const TimestampSchema = messageDesc<Timestamp>(file_google_protobuf_timestamp, 0);

/** The file that describes descriptors. It is of proto2, and protobuf-es has it once anybody needs it. */
export const file_google_protobuf_descriptor = (): DescFile => protobufEs().FileDescriptorProtoSchema.file;

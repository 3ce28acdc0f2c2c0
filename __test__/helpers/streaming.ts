import { create, type Message, toBinary } from "@bufbuild/protobuf";
import {
  fileDesc,
  type GenMessage,
  type GenService,
  messageDesc,
  serviceDesc,
} from "@bufbuild/protobuf/codegenv2";
import {
  type EmptySchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  file_google_protobuf_empty,
  FileDescriptorProtoSchema,
} from "@bufbuild/protobuf/wkt";

/*
 * The streaming service of ttrpc's own integration tests, and `test.Streams` with the methods that it lacks, as
 * protoc-gen-es would generate them. The peers in Go and Rust have both, and so has `stream-server.ts`.
 */

const PACKAGE = "ttrpc.integration.streaming";
const EMPTY = ".google.protobuf.Empty";
const [ECHO, PART, SUM] = ["EchoPayload", "Part", "Sum"].map((name) => `.${PACKAGE}.${name}`) as [
  string,
  string,
  string,
];
const { INT32, STRING, UINT32 } = FieldDescriptorProto_Type;
const [ONE, STREAM] = [false, true];

type Field = readonly [name: string, type: FieldDescriptorProto_Type];
type Method = readonly [
  name: string,
  clientStreaming: boolean,
  input: string,
  serverStreaming: boolean,
  output: string,
];

function messageType(name: string, ...fields: Field[]) {
  return {
    name,
    field: fields.map(([field, type], index) => {
      return { name: field, type, number: index + 1, label: FieldDescriptorProto_Label.OPTIONAL };
    }),
  };
}

function serviceType(name: string, ...methods: Method[]) {
  return {
    name,
    method: methods.map(([method, clientStreaming, inputType, serverStreaming, outputType]) => {
      return { name: method, clientStreaming, inputType, serverStreaming, outputType };
    }),
  };
}

function file(name: string, contents: object) {
  const proto = create(FileDescriptorProtoSchema, { name, syntax: "proto3", ...contents });
  return Buffer.from(toBinary(FileDescriptorProtoSchema, proto)).toString("base64");
}

const streamingFile = fileDesc(
  file("test/streaming.proto", {
    package: PACKAGE,
    dependency: ["google/protobuf/empty.proto"],
    messageType: [
      messageType("EchoPayload", ["seq", UINT32], ["msg", STRING]),
      messageType("Part", ["add", INT32]),
      messageType("Sum", ["sum", INT32], ["num", INT32]),
    ],
    service: [
      serviceType(
        "Streaming",
        ["Echo", ONE, ECHO, ONE, ECHO],
        ["EchoStream", STREAM, ECHO, STREAM, ECHO],
        ["SumStream", STREAM, PART, ONE, SUM],
        ["DivideStream", ONE, SUM, STREAM, PART],
        ["EchoNull", STREAM, ECHO, ONE, EMPTY],
        ["EchoNullStream", STREAM, ECHO, STREAM, EMPTY],
        ["EmptyPayloadStream", ONE, EMPTY, STREAM, ECHO],
      ),
    ],
  }),
  [file_google_protobuf_empty],
);

const extrasFile = fileDesc(
  file("test/streams.proto", {
    package: "test",
    dependency: ["test/streaming.proto"],
    service: [
      serviceType(
        "Streams",
        ["Describe", ONE, ECHO, ONE, ECHO],
        ["Large", ONE, SUM, ONE, ECHO],
        ["DescribeStream", ONE, ECHO, STREAM, ECHO],
        ["Count", ONE, SUM, STREAM, ECHO],
        ["Fail", STREAM, ECHO, STREAM, ECHO],
        ["Hang", ONE, ECHO, STREAM, ECHO],
      ),
    ],
  }),
  [streamingFile],
);

export type EchoPayload = Message<"ttrpc.integration.streaming.EchoPayload"> & { seq: number; msg: string };
export type Part = Message<"ttrpc.integration.streaming.Part"> & { add: number };
export type Sum = Message<"ttrpc.integration.streaming.Sum"> & { sum: number; num: number };

export const EchoPayloadSchema: GenMessage<EchoPayload> = messageDesc(streamingFile, 0);
const PartSchema: GenMessage<Part> = messageDesc(streamingFile, 1);
const SumSchema: GenMessage<Sum> = messageDesc(streamingFile, 2);

interface MethodTypes<Kind extends string, Input, Output> {
  methodKind: Kind;
  input: Input;
  output: Output;
}

type Echo = typeof EchoPayloadSchema;

export const Streaming: GenService<{
  echo: MethodTypes<"unary", Echo, Echo>;
  echoStream: MethodTypes<"bidi_streaming", Echo, Echo>;
  sumStream: MethodTypes<"client_streaming", typeof PartSchema, typeof SumSchema>;
  divideStream: MethodTypes<"server_streaming", typeof SumSchema, typeof PartSchema>;
  echoNull: MethodTypes<"client_streaming", Echo, typeof EmptySchema>;
  echoNullStream: MethodTypes<"bidi_streaming", Echo, typeof EmptySchema>;
  emptyPayloadStream: MethodTypes<"server_streaming", typeof EmptySchema, Echo>;
}> = serviceDesc(streamingFile, 0);

export const Streams: GenService<{
  describe: MethodTypes<"unary", Echo, Echo>;
  large: MethodTypes<"unary", typeof SumSchema, Echo>;
  describeStream: MethodTypes<"server_streaming", Echo, Echo>;
  count: MethodTypes<"server_streaming", typeof SumSchema, Echo>;
  fail: MethodTypes<"bidi_streaming", Echo, Echo>;
  hang: MethodTypes<"server_streaming", Echo, Echo>;
}> = serviceDesc(extrasFile, 0);

/** The text that is sent to the null methods. */
export const NULL_TEXT = "non-empty empty";

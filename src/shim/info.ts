import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Any } from "@bufbuild/protobuf/wkt";
import { decode, encode } from "../codec/codec.js";
import { AnySchema } from "../descriptors/well-known.js";
import { definedFields } from "../options.js";
import { RuntimeInfoSchema } from "../protos/types.js";
import type { ShimArguments } from "./arguments.js";
import { answerOnStdout } from "./delete.js";
import type { ShimOptions } from "./options.js";
import { readStdin } from "./read-stdin.js";

/** Describes this runtime on stdout; containerd may have written options to stdin. */
export async function runInfo(name: string, _args: ShimArguments, options: ShimOptions): Promise<void> {
  const write = answerOnStdout();
  const input = readStdin();
  const given: Any | undefined = input.length === 0 ? undefined : decode(AnySchema, input);
  const { version = "0.0.0" } = options;
  const info: MessageInitShape<typeof RuntimeInfoSchema> = { name, version: { version } };
  write(encode(RuntimeInfoSchema, Object.assign(info, definedFields(await options.info?.(given)))));
}

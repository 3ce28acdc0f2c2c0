import { type DescMessage, protoInt64 } from "@bufbuild/protobuf";
import { compileRead, type Make, type Read } from "./compile-read.js";
import { compileWrite, type Write } from "./compile-write.js";
import { mayCompile } from "./scope.js";

/** The compiled functions of a message. Each replaces itself at its first use by what is compiled then. */
export interface Codec {
  write: Write;
  read: Read;
  Make: Make;
}

/** Finds the codec of a message that another one holds. */
export type CodecOf = (desc: DescMessage) => Codec;

const codecs = new WeakMap<DescMessage, Codec>();

/** Whether messages are compiled; otherwise protobuf-es does all the work. */
export const compiles = mayCompile() && protoInt64.supported;

/** The codec of a message. */
export function codecOf(desc: DescMessage): Codec {
  let codec = codecs.get(desc);
  if (codec === undefined) codecs.set(desc, (codec = lazyCodec(desc)));
  return codec;
}

function lazyCodec(desc: DescMessage): Codec {
  const compile = () => Object.assign(codec, compileRead(desc, codecOf));
  const codec: Codec = {
    write(...args) {
      codec.write = compileWrite(desc, codecOf);
      return codec.write(...args);
    },
    read(...args) {
      compile();
      return codec.read(...args);
    },
    // A constructor that returns an object makes that one.
    Make: function make(): object {
      compile();
      return new codec.Make();
    } as unknown as Make,
  };
  return codec;
}

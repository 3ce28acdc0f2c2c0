import type { DescMessage } from "@bufbuild/protobuf";
import { compileRead, type Make, type Read } from "./compile-read.js";
import { compileWrite, type Write } from "./compile-write.js";
import { interpretRead } from "./interpret-read.js";
import { interpretWrite } from "./interpret-write.js";
import { hasLongs } from "./longs.js";
import { makerOf } from "./make.js";
import { mayCompile } from "./compiled-scope.js";

/** The functions of a message. */
export interface Codec {
  write: Write;
  read: Read;
  Make: Make;
}

/** Finds the codec of a nested message. */
export type CodecOf = (desc: DescMessage) => Codec;

/** Whether messages that are used often are compiled. Compiled code knows 64-bit integers only as bigints. */
export const compiles = mayCompile() && hasLongs;

/**
 * A type's functions are compiled after this many messages. Compiling costs about as much as compiled code saves on
 * some hundreds of messages.
 */
const OFTEN = 500;

/**
 * Types with more members than this are not compiled: V8 takes a tenth of a second and more for functions of that size, all at
 * once, and does not optimize them.
 */
const MOST_MEMBERS = 300;

/** The codec of a message, compiled once it is used often. */
export const codecOf: CodecOf = codecsAfter(compiles ? OFTEN : Number.POSITIVE_INFINITY);

/** The codec of a message that is never compiled, nor are the codecs of its nested messages. */
export const interpreterOf: CodecOf = codecsAfter(Number.POSITIVE_INFINITY);

/** Makes codecs that are compiled after `often` messages of a type. */
export function codecsAfter(often: number): CodecOf {
  const codecs = new WeakMap<DescMessage, Codec>();
  return function of(desc) {
    let codec = codecs.get(desc);
    if (codec === undefined) {
      codec = often === 0 ? compiledCodec(desc, of) : countingCodec(desc, of, often);
      codecs.set(desc, codec);
    }
    return codec;
  };
}

/** Makes a constructor of a function. A constructor that returns an object gives that object. */
function maker(make: () => object): Make {
  return function Message() {
    return make();
  } as unknown as Make;
}

function countingCodec(desc: DescMessage, of: CodecOf, often: number): Codec {
  const Make = maker(() => makerOf(desc)());
  const write = interpretWrite(desc, of);
  const read = interpretRead(desc, of);
  if (often === Number.POSITIVE_INFINITY || desc.members.length > MOST_MEMBERS) return { write, read, Make };
  let writes = 0;
  let reads = 0;
  const codec: Codec = {
    write(...args) {
      if (++writes >= often) codec.write = compileWrite(desc, of);
      return write(...args);
    },
    read(...args) {
      // Compiled code gets only messages from the compiled constructor: two shapes of messages would slow it down for
      // good.
      if (++reads >= often) Object.assign(codec, compileRead(desc, of));
      return read(...args);
    },
    Make,
  };
  return codec;
}

/** A codec that is compiled at its first use. */
function compiledCodec(desc: DescMessage, of: CodecOf): Codec {
  const codec: Codec = {
    write(...args) {
      codec.write = compileWrite(desc, of);
      return codec.write(...args);
    },
    read(...args) {
      Object.assign(codec, compileRead(desc, of));
      return codec.read(...args);
    },
    Make: maker(() => {
      Object.assign(codec, compileRead(desc, of));
      return new codec.Make();
    }),
  };
  return codec;
}

import { Buffer } from "node:buffer";
import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** The size of the header of a file for 64 bits. */
const HEADER = 64;
/** How it begins: the magic number of ELF, 64 bits, the lowest byte first. */
const MAGIC = "7f454c460201";

/**
 * What an ELF file lacks, for an error's text; undefined if it is whole, or another kind of file. An installation that
 * was interrupted, or a full disk, cuts files off. The loader maps what is not there, and the process ends by SIGBUS
 * without a word.
 */
export function missingOf(file: string): string | undefined {
  try {
    const fd = openSync(file, "r");
    try {
      const header = Buffer.alloc(HEADER);
      if (readSync(fd, header, 0, HEADER, 0) < HEADER || !header.toString("hex").startsWith(MAGIC))
        return undefined;
      // The table of sections comes last.
      const end =
        Number(header.readBigUInt64LE(0x28)) + header.readUInt16LE(0x3a) * header.readUInt16LE(0x3c);
      const { size } = fstatSync(fd);
      return size < end ? `it was cut off after ${size} of ${end} bytes` : undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    // What keeps it from being read is the loader's to say.
    return undefined;
  }
}

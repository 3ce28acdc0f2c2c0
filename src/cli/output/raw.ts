/** What stands in place of a value that cannot be shown as what it should be. */
export interface Raw {
  /** Its bytes, in hexadecimal. */
  readonly raw: string;
  /** Why it cannot. */
  readonly problem: string;
}

/** Bytes that could not be shown otherwise. */
export function rawOf(bytes: Uint8Array, error: unknown): Raw {
  return { raw: Buffer.from(bytes).toString("hex"), problem: problemOf(error) };
}

/** What an error says, whatever it is. */
export function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

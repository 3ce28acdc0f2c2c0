/** Shown in place of a value that cannot be decoded or formatted. */
export interface Raw {
  /** The bytes of the value, in hexadecimal. */
  readonly raw: string;
  /** Why it cannot. */
  readonly problem: string;
}

/** Makes the replacement for a value, from its bytes and the error. */
export function rawOf(bytes: Uint8Array, error: unknown): Raw {
  return { raw: Buffer.from(bytes).toString("hex"), problem: problemOf(error) };
}

/** The text of a thrown value, whatever it is. */
export function problemOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

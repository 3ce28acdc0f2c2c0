import { invalidArgument } from "./errors.js";

const LONGEST = 76;

/** Throws InvalidArgument for what containerd takes for no id. Files of the bundle are named after it. */
export function checkExecId(execId: string): void {
  if (execId.length <= LONGEST && /^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/.test(execId)) return;
  const rule = `up to ${LONGEST} letters and digits with single ".", "_" or "-" between them`;
  throw invalidArgument(`execId must be ${rule}, not ${JSON.stringify(execId)}`);
}

import { getSystemErrorName } from "node:util";

/** The result of a call of the addon that returns the system's error numbers below 0. Throws an Error with its `code`. */
export function checked(syscall: string, result: number): number {
  if (result >= 0) return result;
  const code = getSystemErrorName(result);
  throw Object.assign(new Error(`${syscall}: ${code}`), { code, errno: result, syscall });
}

import { Shimctl } from "./shimctl.js";
import { temporaryAddress } from "../helpers/temp.js";

/** A proxy that listens. */
export async function proxyTo(
  target: string,
  ...options: string[]
): Promise<Shimctl & { readonly address: string }> {
  const address = temporaryAddress();
  const child = new Shimctl(["proxy", address, target, ...options]);
  await child.says("listening on");
  return Object.assign(child, { address });
}

export interface Shown {
  readonly event: string;
  readonly connection: number;
  readonly [field: string]: unknown;
}

export function shown(text: string): Shown[] {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Shown);
}

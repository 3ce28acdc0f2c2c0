import {
  create,
  type DescMessage,
  isMessage,
  type MessageInitShape,
  type MessageShape,
} from "@bufbuild/protobuf";
import { checkMessage } from "./messages.js";
import { checkedString } from "../options.js";
import { isArray, isPlain, isRevoked, kindOf, shown } from "../value-kinds.js";

/** Checks an object whose names are known. Throws a TypeError that names what is wrong. */
export function checkedObject(
  value: unknown,
  name: string,
  known?: readonly string[],
): Record<string, unknown> {
  if (!isPlain(value)) throw new TypeError(`${name} must be an object, not ${kindOf(value)}`);
  for (const key of Object.keys(value)) {
    if (known !== undefined && !known.includes(key)) {
      throw new TypeError(`${name} has no ${shown(key)}; it has ${known.join(", ")}`);
    }
  }
  return value;
}

/** Checks a list, and copies it. Throws a TypeError that names it. */
export function checkedList(value: unknown, name: string, of = ""): unknown[] {
  if (!isArray(value)) throw new TypeError(`${name} must be an array${of}, not ${kindOf(value)}`);
  return Array.from(value);
}

/** Checks a list of strings. Throws a TypeError that names it. */
export function checkedStrings(value: unknown, name: string): string[] {
  const list = checkedList(value, name, " of strings");
  return list.map((each, index) => checkedString(each, `${name}[${index}]`));
}

/** Checks the fields of a message and makes it. Throws a TypeError that names the wrong field. */
export function checkedMessage<Desc extends DescMessage>(
  desc: Desc,
  value: unknown,
  name: string,
): MessageShape<Desc> {
  checkMessage(desc, value, name);
  return create(desc, value as MessageInitShape<Desc>);
}

/** Whether it is a message of this type. Never throws; protobuf-es does for a revoked Proxy. */
export function isOf<Desc extends DescMessage>(value: unknown, desc: Desc): value is MessageShape<Desc> {
  return !isRevoked(value) && isMessage(value, desc);
}

/**
 * Checks the key of an entry that is set. A leading "-" would remove the entry instead. Throws a TypeError that names it.
 */
export function checkedKey(key: unknown, name: string): string {
  const text = checkedString(key, name);
  if (text === "") throw new TypeError(`${name} is empty`);
  if (text.startsWith("-")) {
    throw new TypeError(`${name} must not begin with "-", which marks what is removed: ${shown(text)}`);
  }
  return text;
}

/** The key that removes an entry. */
export function removed(key: unknown, name: string): string {
  return `-${checkedKey(key, name)}`;
}

import type { DescField, DescMessage } from "@bufbuild/protobuf";
import { bigintOf } from "../codec/longs.js";
import { validate } from "../codec/validate.js";
import { checkedInteger, checkedLimits, RANGES, type RangedField } from "./ranges.js";

/**
 * Checks a message that a user has made or changed: the types of its fields, and the ranges that plain objects are held to.
 * Throws a TypeError that names the wrong field by its path.
 */
export function checkMessage(desc: DescMessage, message: unknown, at: string): void {
  validate(desc, message, at);
  checkRanges(desc, message as object, at);
}

function checkRanges(desc: DescMessage, message: object, at: string): void {
  if (desc.name === "POSIXRlimit") {
    const { soft = 0n, hard = 0n } = message as { readonly soft?: bigint; readonly hard?: bigint };
    checkedLimits(bigintOf(soft), bigintOf(hard), at);
    return;
  }
  for (const field of desc.fields) {
    const range = rangeOf(desc, field);
    const value = (message as Record<string, unknown>)[field.localName];
    if (value === undefined || (range === undefined && field.message === undefined)) continue;
    const path = `${at}.${field.localName}`;
    if (field.fieldKind === "list") {
      (value as unknown[]).forEach((item, index) => checkValue(field, range, item, `${path}[${index}]`));
    } else if (field.fieldKind === "map") {
      for (const [key, item] of Object.entries(value as object))
        checkValue(field, range, item, `${path}[${JSON.stringify(key)}]`);
    } else checkValue(field, range, value, path);
  }
}

function checkValue(field: DescField, range: RangedField | undefined, value: unknown, path: string): void {
  if (range === undefined) {
    if (field.message !== undefined) checkRanges(field.message, value as object, path);
  } else if (field.message === undefined) checkedInteger(bigintOf(value as bigint), path, range);
  // A wrapper, which sends 0 for what is left out.
  else {
    const { value: wrapped = 0n } = value as { readonly value?: bigint };
    checkedInteger(bigintOf(wrapped), `${path}.value`, range);
  }
}

function rangeOf(desc: DescMessage, field: DescField): RangedField | undefined {
  const name = `${desc.name}.${field.localName}`;
  return Object.hasOwn(RANGES, name) ? (name as RangedField) : undefined;
}

import type { DescriptorProto, EnumDescriptorProto, FieldDescriptorProto } from "@bufbuild/protobuf/wkt";
import type { Parsed } from "./parsed.js";

/** Refuses fields and enum values that share a number or a JSON name, or have a reserved number or name. */
export function check({ proto, source, places }: Parsed): void {
  const refuse = (declaration: object, what: string) => {
    throw source.error(places.get(declaration) ?? 0, what);
  };
  const visit = (message: DescriptorProto) => {
    checkFields(message, refuse);
    message.enumType.forEach((type) => checkEnum(type, proto.syntax === "proto3", refuse));
    message.nestedType.forEach(visit);
  };
  proto.messageType.forEach(visit);
  proto.enumType.forEach((type) => checkEnum(type, proto.syntax === "proto3", refuse));
}

type Refuse = (declaration: object, what: string) => void;

function checkFields(message: DescriptorProto, refuse: Refuse): void {
  const numbers = new Map<number, FieldDescriptorProto>();
  const jsonNames = new Map<string, FieldDescriptorProto>();
  const taken = [
    ...message.reservedRange.map((range) => ({ ...range, why: "reserved" })),
    ...message.extensionRange.map((range) => ({ ...range, why: "for extensions" })),
  ];
  for (const field of message.field) {
    const { name, number, jsonName } = field;
    const same = numbers.get(number);
    if (same !== undefined) refuse(field, `${name} has the same number as ${same.name}: ${number}`);
    numbers.set(number, field);
    const alike = jsonNames.get(jsonName);
    if (alike !== undefined) refuse(field, `${name} has the same JSON name as ${alike.name}: ${jsonName}`);
    jsonNames.set(jsonName, field);
    const range = taken.find(({ start, end }) => number >= start && number < end);
    if (range !== undefined) refuse(field, `the number ${number} of ${name} is ${range.why}`);
    if (message.reservedName.includes(name)) refuse(field, `the name ${name} is reserved`);
  }
}

function checkEnum(type: EnumDescriptorProto, proto3: boolean, refuse: Refuse): void {
  const [first] = type.value;
  if (proto3 && first !== undefined && first.number !== 0) {
    refuse(first, `${first.name}, the first value of ${type.name}, must be 0 in proto3`);
  }
  const numbers = new Map<number, string>();
  for (const value of type.value) {
    const { name, number } = value;
    const same = numbers.get(number);
    if (same !== undefined && type.options?.allowAlias !== true) {
      refuse(value, `${name} has the same number as ${same}: ${number}`);
    }
    numbers.set(number, name);
    const reserved = type.reservedRange.some(({ start, end }) => number >= start && number <= end);
    if (reserved) refuse(value, `the number ${number} of ${name} is reserved`);
    if (type.reservedName.includes(name)) refuse(value, `the name ${name} is reserved`);
  }
}

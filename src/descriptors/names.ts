/** The names that protobuf-es gives to what a file defines. */

/** Names that every object has. */
const RESERVED: ReadonlySet<string> = new Set(["constructor", "toString", "toJSON", "valueOf"]);

/** A name that is safe for a property. */
export function propertyName(name: string): string {
  return RESERVED.has(name) ? `${name}$` : name;
}

/** The JSON name that protoc derives from a field's name. */
export function camelCase(name: string): string {
  return name.replaceAll(/_+(.?)/g, (_, next: string) => next.toUpperCase());
}

/** The name of a method in JavaScript. */
export function methodName(name: string): string {
  return propertyName(propertyName(name.charAt(0).toLowerCase() + name.slice(1)));
}

/** The prefix that all values of an enum share with its name, such as `my_enum_`; undefined if they do not. */
export function sharedPrefix(enumName: string, values: readonly string[]): string | undefined {
  const snake = enumName.charAt(0) + enumName.slice(1).replaceAll(/[A-Z]/g, (letter) => `_${letter}`);
  const prefix = `${snake.toLowerCase()}_`;
  const shares = values.every(
    (value) => value.toLowerCase().startsWith(prefix) && /^\D/.test(value.slice(prefix.length)),
  );
  return shares ? prefix : undefined;
}

import { styleText } from "node:util";
import { codeName, TtrpcError } from "containerd-shim-protos";

type Style = Parameters<typeof styleText>[0];

const coloured = process.stdout.isTTY === true && process.stdout.hasColors();

/** Colours a string, on a terminal. */
export function paint(style: Style, text: string): string {
  return coloured ? styleText(style, text) : text;
}

const LABEL = 10;
const TIME = 9;

/** Starts a group of lines. */
export function heading(text: string): void {
  console.log(`\n${paint("bold", text)}`);
}

/** A line with a label and a value. */
export function fact(label: string, text: string): void {
  console.log(`  ${paint("cyan", label.padEnd(LABEL))}  ${text}`);
}

/** A line about a call: its method, how long it took, and its outcome. */
export function call(method: string, ms: number, text: string): void {
  const time = `${ms.toFixed(2)} ms`.padStart(TIME);
  console.log(`  ${paint("cyan", method.padEnd(LABEL))}  ${paint("dim", time)}  ${text}`);
}

/** A line below that of a call, aligned with its text. */
export function more(text: string): void {
  console.log(`${" ".repeat(LABEL + TIME + 6)}${text}`);
}

/** Makes a call and prints its line. Resolves to its reply. */
export async function timed<T>(
  method: string,
  make: () => Promise<T>,
  describe: (reply: T) => string,
): Promise<T> {
  const start = performance.now();
  const reply = await make();
  call(method, performance.now() - start, describe(reply));
  return reply;
}

/** Makes a call that must fail and prints its line. Resolves to its error. */
export async function failing(method: string, make: () => Promise<unknown>): Promise<TtrpcError> {
  const start = performance.now();
  try {
    await make();
  } catch (error) {
    if (!(error instanceof TtrpcError)) throw error;
    call(method, performance.now() - start, describeError(error));
    return error;
  }
  throw new Error(`${method} should have failed`);
}

/** An error's code and message, without the call, which is printed before it. */
export function describeError({ code, rawMessage }: TtrpcError): string {
  return `${paint("yellow", codeName(code))}: ${rawMessage}`;
}

import { isError } from "./value-kinds.js";

/** The errors that JavaScript throws by itself, such as for a property of undefined. Their messages name no place. */
const MISTAKES: ReadonlySet<string> = new Set(["TypeError", "ReferenceError", "RangeError"]);

/** How many frames of a stack a line of the log has. A mistake may come to light in what the handler calls. */
const FRAMES = 3;

/** Where a mistake was made, to be put behind the text of its error; empty for errors whose authors chose the text. */
export function placeOf(error: unknown): string {
  try {
    if (!isError(error) || !MISTAKES.has(error.name)) return "";
    const frames = (error.stack ?? "").split("\n").filter((line) => /^ {4}at /.test(line));
    return frames
      .slice(0, FRAMES)
      .map((frame) => `, ${frame.trim()}`)
      .join("");
  } catch {
    // A getter of it threw, or its stack is no text.
    return "";
  }
}

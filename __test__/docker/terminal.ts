import { expect } from "vitest";
import { type Containers, TERMINAL_SIZE } from "./containers.js";

/** A script that prints the size of its terminal and what is typed there. */
export const TERMINAL_SCRIPT = "stty size; read line; echo got $line; exit 5";

/** Runs a `docker` command whose process is {@link TERMINAL_SCRIPT}, on a terminal, and types a word. */
export async function expectTerminal(containers: Containers, args: readonly string[]): Promise<void> {
  const { code, stdout } = await containers.onTerminal(args, "word\n");
  expect(code).toBe(5);
  expect(stdout).toContain(`${TERMINAL_SIZE.rows} ${TERMINAL_SIZE.columns}\r\n`);
  expect(stdout).toContain("got word\r\n");
}

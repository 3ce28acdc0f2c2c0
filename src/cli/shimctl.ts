#!/usr/bin/env node
import { CommanderError } from "commander";
import { ExitCode } from "./exit-code.js";
import { printFault } from "./output/fault.js";
import { endWithReader, leaveUnread } from "./output/stdout.js";
import { program } from "./program.js";

/** Runs a command line and sets the exit code. */
async function main(argv: readonly string[]): Promise<void> {
  endWithReader();
  // What nobody waits for. Node's own exit code for it is that of a status here.
  process.once("uncaughtException", (error) => {
    printFault(error);
    process.exit(ExitCode.Software);
  });
  try {
    await program().parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version are not errors, and commander has said the rest.
      process.exitCode = error.exitCode === 0 ? ExitCode.Ok : ExitCode.Usage;
      return;
    }
    const { report } = await import("./report.js");
    process.exitCode = await report(error);
  }
}

await main(process.argv);
leaveUnread();

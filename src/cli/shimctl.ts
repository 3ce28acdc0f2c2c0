#!/usr/bin/env node
import { CommanderError } from "commander";
import { ExitCode } from "./exit-code.js";
import { printFault } from "./output/fault.js";
import { endWithOutput, leaveUnread } from "./output/stdout.js";
import { program } from "./program.js";

/** Runs a command line and sets the exit code. */
async function main(argv: readonly string[]): Promise<void> {
  endWithOutput();
  // An error that nothing awaits. Node would exit with 1, which means a status here.
  process.once("uncaughtException", (error) => {
    printFault(error);
    process.exit(ExitCode.Software);
  });
  try {
    await program().parseAsync(argv);
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and version are not errors, and commander has printed what else was wrong.
      process.exitCode = error.exitCode === 0 ? ExitCode.Ok : ExitCode.Usage;
      return;
    }
    const { report } = await import("./report-error.js");
    process.exitCode = await report(error);
  }
}

await main(process.argv);
leaveUnread();

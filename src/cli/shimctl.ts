#!/usr/bin/env node
import { CommanderError } from "commander";
import { UsageError } from "./errors.js";
import { ExitCode } from "./exit-code.js";
import { printFault } from "./output/fault.js";
import { endWithOutput, leaveUnread, printError, styledError } from "./output/stdout.js";
import { program } from "./program.js";
import { loadReport } from "./reporting.js";

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
    process.exitCode = await reported(hasNoFolder(error) ? new UsageError(NO_FOLDER) : error);
  }
}

const NO_FOLDER = "the working directory does not exist any more";

/** Whether a relative path could not be resolved. */
function hasNoFolder(error: unknown): boolean {
  return ((error ?? {}) as NodeJS.ErrnoException).syscall === "uv_cwd";
}

/** Reports an error; resolves to the exit code. */
async function reported(error: unknown): Promise<number> {
  try {
    if (!lacksDescriptors(error)) return await (await loadReport()).report(error);
  } catch (another) {
    if (!lacksDescriptors(another)) throw another;
  }
  // Neither a command nor what reports errors can be loaded then.
  printError(styledError("red", "shimctl: too many open files"));
  printError("  try a higher limit: `ulimit -n 1024`");
  return ExitCode.Usage;
}

function lacksDescriptors(error: unknown): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException;
  return code === "EMFILE" || code === "ENFILE";
}

await main(process.argv);
leaveUnread();

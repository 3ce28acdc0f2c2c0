import { TtrpcError } from "../index.js";
import { ExitCode } from "./exit-code.js";
import { Interrupted } from "./errors.js";
import { exitCodeOf, headline, hint } from "./exit.js";
import { printError, styledError } from "./output/stdout.js";

/** Says on stderr what went wrong and what to try; resolves to the exit code. */
export async function report(error: unknown): Promise<number> {
  const code = exitCodeOf(error);
  if (error instanceof Interrupted) return code;
  if (code === ExitCode.Software) {
    printError(`shimctl: a fault of shimctl itself: ${(error as Error | undefined)?.stack ?? String(error)}`);
    return code;
  }
  printError(styledError("red", `shimctl: ${headline(error)}`));
  if (error instanceof TtrpcError && error.details.length > 0) {
    const [{ anyToJson }, { registry }] = await Promise.all([import("./json.js"), import("../registry.js")]);
    for (const detail of error.details) printError(`  ${JSON.stringify(anyToJson(detail, registry))}`);
  }
  const advice = hint(error);
  if (advice !== undefined) printError(`  try ${advice}`);
  return code;
}

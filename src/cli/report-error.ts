import { TtrpcError } from "../error.js";
import { lacksAddon } from "../native/load.js";
import { ExitCode } from "./exit-code.js";
import { Interrupted, UsageError } from "./errors.js";
import { exitCodeOf, headline, hint } from "./describe-error.js";
import { printFault } from "./output/fault.js";
import { printError, styledError } from "./output/stdout.js";
import { text } from "./output/text.js";
import { textOf } from "../value-kinds.js";

/** Prints to stderr what went wrong and what to try; resolves to the exit code. */
export async function report(error: unknown): Promise<number> {
  const code = exitCodeOf(error);
  if (error instanceof Interrupted) return code;
  if (lacksAddon(error)) {
    const [first = "", ...rest] = error.message.split("\n");
    printError([styledError("red", `shimctl: ${first}`), ...rest]);
    return code;
  }
  if (code === ExitCode.Software) {
    printFault(error);
    return code;
  }
  printError(styledError("red", `shimctl: ${headline(error)}`));
  if (error instanceof TtrpcError && error.details.length > 0) {
    await printDetails(error).catch((why: unknown) => {
      // An update may have replaced what shows them, while the command ran.
      printError(text`  its details cannot be shown: ${textOf(why)}`);
    });
  }
  if (error instanceof UsageError) for (const line of error.output) printError(`  ${line}`);
  const advice = hint(error);
  if (advice !== undefined) printError(`  try ${advice}`);
  return code;
}

async function printDetails({ details }: TtrpcError): Promise<void> {
  const [{ anyToJson }, { registryInUse }, { plainJson }] = await Promise.all([
    import("./message-to-json.js"),
    import("./schema/schema.js"),
    import("./output/json.js"),
  ]);
  const registry = await registryInUse();
  for (const detail of details) printError(text`  ${plainJson(anyToJson(detail, { registry }))}`);
}

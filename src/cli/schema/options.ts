import type { Command } from "commander";
import { repeated } from "../arguments.js";

/** The files of the user's own services and messages. */
export interface SchemaOptions {
  readonly proto?: readonly string[];
  readonly importPath?: readonly string[];
  readonly descriptorSet?: readonly string[];
}

/** Adds the options of {@link SchemaOptions} to a command. */
export function withSchemaOptions(command: Command): Command {
  return command
    .option("--proto <file>", "add the services and messages of a .proto file; may be repeated", repeated)
    .option("-I, --import-path <dir>", "where to find imports of --proto; may be repeated", repeated)
    .option("--descriptor-set <file>", "add those of a FileDescriptorSet; may be repeated", repeated);
}

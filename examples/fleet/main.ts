/**
 * containerd's events of many hosts: `npx tsx examples/fleet/main.ts collect|watch|query`; `--help` after each lists its
 * options. docs/events.md says how to put it together.
 */

const COMMANDS: Record<string, () => Promise<{ run(args: string[]): Promise<void> }>> = {
  collect: () => import("./collect.js"),
  watch: () => import("./watch.js"),
  query: () => import("./query.js"),
};
const [name = "", ...args] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;

if (command === undefined) {
  console.error(`usage: main.ts ${Object.keys(COMMANDS).join("|")} [options], each with --help`);
  process.exit(2);
}
try {
  await (await command()).run(args);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exit(1);
}

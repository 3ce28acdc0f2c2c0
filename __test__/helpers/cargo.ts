import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Builds packages of the workspace together and returns the path of the executable of `name`. cargo shows its progress
 * on stderr. The first build takes a minute.
 */
export function cargoBuild(
  name: string,
  packages: readonly string[] = [name],
  profile: "dev" | "release" = "dev",
): string {
  const selected = packages.flatMap((each) => ["--package", each]);
  const options = ["--profile", profile, "--locked", "--message-format=json-render-diagnostics"];
  const args = ["build", ...selected, ...options];
  const output = execFileSync("cargo", args, {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 26,
  });
  const built = output
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as { executable?: string | null; target?: { name: string } })
    .find(({ executable, target }) => typeof executable === "string" && target?.name === name);
  if (typeof built?.executable !== "string") throw new Error(`cargo built no ${name}`);
  return built.executable;
}

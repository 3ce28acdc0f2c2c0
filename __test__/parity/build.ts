import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

/** Builds the Rust side and gives its path. cargo shows on stderr what it does, which takes a minute the first time. */
export function buildParityPeer(): string {
  // Together with the other peer, so that the crates that both need are built once, with the features that both need.
  const packages = ["--package", "shim-peer", "--package", "shim-parity"];
  const args = ["build", ...packages, "--locked", "--message-format=json-render-diagnostics"];
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
    .find(({ executable, target }) => typeof executable === "string" && target?.name === "shim-parity");
  if (typeof built?.executable !== "string") throw new Error("cargo built no shim-parity");
  return built.executable;
}

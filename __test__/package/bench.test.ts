import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { describeWithPeer } from "../helpers/peer.js";
import { temporaryPath } from "../helpers/temp.js";

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, "../../bench/main.ts");

function bench(...args: string[]): Promise<{ stdout: string }> {
  return run(process.execPath, ["--import", "tsx", MAIN, ...args]);
}

describeWithPeer("the bench", () => {
  it("measures what was requested and writes a report with plots", { timeout: 60_000 }, async () => {
    const output = temporaryPath();
    const only = "client/unary/64B/1x1,client/sink/256B,load";
    const pace = ["--rounds", "1", "--seconds", "0.05", "--profile", "dev"];
    await bench("--quick", "--only", only, ...pace, "--output", output);
    const report = readFileSync(join(output, "report.md"), "utf8");
    expect(report).toMatch(/^\| unary 64 B, 1 in flight: median latency, of plain JavaScript .*ed\W+\|$/m);
    expect(report).toMatch(/^\| 256 B to the server +(\| +[1-9][\d.\u00a0]* ){4,}/m);
    expect(report).toMatch(/^\| grpc-js, a call with bytes .* ms /m);
    expect(report).not.toContain("NaN");
    for (const plot of ["ratios", "streams"]) {
      expect(report).toContain(`plots/${plot}.svg`);
      const drawn = readFileSync(join(output, "plots", `${plot}.svg`), "utf8");
      expect(drawn).toMatch(/^<svg .*<\/svg>$/s);
      // A truncated label ends like this.
      expect(drawn).not.toContain("…");
    }
  });

  it.each([
    [["--only", "none such"], "--only matches nothing"],
    [["--rounds", "no"], "--rounds must be a number above 0, not no"],
  ])("says what is wrong with %j", async (args, message) => {
    await expect(bench(...args)).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining(message) });
  });
});

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { openStdio } from "containerd-shim-protos/shim/io";
import { describe, expect, test } from "vitest";
import { Script } from "../helpers/script.js";
import { temporaryPath } from "../helpers/temp.js";

/** Runs a script with a logging program, and waits from the script's end until the program has ended. */
async function log(script: string, lines: readonly string[]): Promise<{ file: string; ms: number }> {
  const file = temporaryPath();
  writeFileSync(file, `#!/bin/bash\n${lines.join("\n").replaceAll("FILE", file)}\n`, { mode: 0o755 });
  const stdio = await openStdio({ stdin: "", stdout: `binary://${file}`, stderr: "" });
  expect(stdio.isLogged).toBe(true);
  const child = spawn("/bin/sh", ["-c", script], { stdio: [...stdio.descriptors] });
  stdio.handedOver();
  await once(child, "exit");
  const start = performance.now();
  stdio.close();
  await stdio.drained;
  return { file, ms: performance.now() - start };
}

describe("a logging program", () => {
  test("that waits to be asked is asked soon, when it has read everything", async () => {
    const { file, ms } = await log("head -c 60000 /dev/zero; echo end", [
      "trap 'echo asked >FILE.out; cat <&3 >>FILE.out; exit' TERM",
      "exec 5>&-",
      "for i in 1 2 3 4 5 6 7; do sleep 0.4; head -c 10000 <&3 >>FILE.read; done",
      "while true; do sleep 0.05; done",
    ]);
    expect(readFileSync(`${file}.read`).length).toBe(60_004);
    expect(readFileSync(`${file}.out`, "utf8")).toBe("asked\n");
    expect(ms).toBeLessThan(8000);
  });

  test("that ends with its streams is not asked while it writes what it has read", async () => {
    const { file } = await log("echo end", ["exec 5>&-", "x=$(cat <&3)", "sleep 0.2", "echo $x >FILE.out"]);
    expect(readFileSync(`${file}.out`, "utf8")).toBe("end\n");
  });
});

test("many logging programs that end at the same time are no leak to Node", async () => {
  const file = temporaryPath();
  writeFileSync(file, "#!/bin/sh\nexec 5>&-\nexec cat <&3 >/dev/null\n", { mode: 0o755 });
  const warnings: string[] = [];
  const note = ({ message }: Error) => void warnings.push(message);
  process.on("warning", note);
  const before = process.listenerCount("exit");
  const opened = await Promise.all(
    Array.from({ length: 12 }, () => openStdio({ stdin: "", stdout: `binary://${file}`, stderr: "" })),
  );
  for (const stdio of opened) {
    stdio.handedOver();
    stdio.close();
  }
  await Promise.all(opened.map(({ drained }) => drained));
  process.off("warning", note);
  expect(warnings).toEqual([]);
  expect(process.listenerCount("exit")).toBe(before);
});

test.skipIf(process.getuid?.() !== 0)(
  "a logging program that may not be signalled costs neither descriptors nor the others their signal",
  async () => {
    const program = (...lines: string[]) => {
      const file = temporaryPath();
      writeFileSync(file, ["#!/bin/sh", ...lines, ""].join("\n"), { mode: 0o755 });
      return `binary://${file}`;
    };
    const others = "exec setpriv --reuid=65534 --clear-groups sh -c 'exec 5>&-; exec cat <&3 >/dev/null'";
    const ended = temporaryPath();
    const own = program(`trap ': >${ended}; exit' TERM`, "exec 5>&-", "while true; do sleep 0.05; done");
    await using script = new Script(
      `
      import { readdirSync } from "node:fs";
      import { openStdio } from "containerd-shim-protos/shim/io";
      const open = (stdout) => openStdio({ stdin: "", stdout, stderr: "" });
      const count = () => readdirSync("/proc/self/fd").length;
      for (const out of ["/dev/null", "${own}", "${own}"]) {
        (await open(out)).abandon();
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      const before = count();
      (await open("${program(others)}")).abandon();
      while (count() > before) await new Promise((resolve) => setTimeout(resolve, 10));
      say("closed");
      for (const stdout of ["${program(others)}", "${own}"]) (await open(stdout)).close();
      process.exit();
    `,
      "",
      { wrapper: ["setpriv", "--bounding-set=-kill", "--inh-caps=-kill"] },
    );
    expect(await script.rest()).toEqual(["closed"]);
    await expect.poll(() => existsSync(ended)).toBe(true);
  },
);

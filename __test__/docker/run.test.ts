import { expect, test } from "vitest";
import { both } from "./both.js";
import { useRunning } from "../cri/suite.js";
import { Engine } from "./engine.js";
import { expectTerminal, TERMINAL_SCRIPT } from "./terminal.js";

const engine = useRunning(() => Engine.start());

test(
  "docker run gives output, error output and code of a container",
  both(engine, async (c) => {
    const result = await c.script([], "seq 1 50000; echo failed >&2; exit 3");
    expect(result).toMatchObject({ code: 3, stderr: "failed\n" });
    expect(result.stdout.endsWith("\n50000\n")).toBe(true);
    return result;
  }),
);

test(
  "docker run -i passes input on to its end, whichever way it is read",
  both(engine, async (c) => {
    const late = await c.script(["-i"], "sleep 0.5; cat < /dev/stdin", "in\n");
    expect(late).toMatchObject({ code: 0, stdout: "in\n" });
    expect(await c.script(["-i"], "cat; echo end", "")).toMatchObject({ code: 0, stdout: "end\n" });
    // Nobody reads it all.
    expect(await c.script(["-i"], "head -c 3", "0".repeat(1 << 20))).toMatchObject({
      code: 0,
      stdout: "000",
    });
    return late;
  }),
);

test(
  "docker run -i carries 10 MiB there and back",
  both(engine, async (c) => {
    const input = "0123456789abcde\n".repeat((10 << 20) / 16);
    const { code, stdout } = await c.script(["-i"], "cat", input);
    expect(code).toBe(0);
    // Not toBe, which would show both.
    expect(stdout === input).toBe(true);
  }),
);

test(
  "docker run -t gives a terminal, and all that is written to it",
  both(engine, async (c) => {
    const { code, stdout } = await c.script(["-t"], "tty; seq 1 2000; exit 4");
    expect(code).toBe(4);
    const lines = stdout.split("\r\n");
    expect(lines[0]).toBe("/dev/pts/0");
    expect(lines.slice(-2)).toEqual(["2000", ""]);
    expect(lines).toHaveLength(2_002);
    await expectTerminal(c, c.terminalArguments(TERMINAL_SCRIPT));
  }),
);

test(
  "docker run exits with 125, 126 or 127 according to why nothing ran",
  both(engine, async (c) => {
    const results = [];
    for (const [code, ...args] of [
      [125, "--user", "nobody-there"],
      [125, "--workdir", "/etc/passwd"],
      [125, "--cap-add", "none-such"],
      [126, "--entrypoint", "/etc"],
      [126, "--entrypoint", "/etc/passwd"],
      [127, "--entrypoint", "/no/such/program"],
      [127, "--entrypoint", "nosuchprogram"],
      [127, "--workdir", "/tmp", "--volume", "/none:/bin"],
    ] as const) {
      const result = await c.run(["--rm", ...args], ["true"]);
      expect(result, args.join(" ")).toMatchObject({ code, stdout: "" });
      results.push(result.stderr);
    }
    return results;
  }),
);

test(
  "docker run gives 128 and more for a container that a signal has ended",
  both(engine, async (c) => {
    // The first process of a pid namespace can only be killed from outside.
    const started = ["self", "outside"];
    await c.start("self", ["--pid", "host"], "kill -SEGV $$");
    await c.start("outside", [], "sleep 1000");
    await c.of("outside", "kill", "--signal", "KILL");
    const codes = await Promise.all(started.map((name) => c.printed(name, "wait")));
    expect(codes).toEqual(["139", "137"]);
  }),
);

test(
  "users, folders, variables, limits and namespaces are those that were asked for",
  both(engine, async (c) => {
    const flags = [
      ["--user", "1000:1000", "--group-add", "50000"],
      ["--workdir", "/var", "--env", "A=b c", "--hostname", "here"],
      ["--ulimit", "nofile=100:200", "--pids-limit", "50", "--cpuset-cpus", "0", "--memory", "64m"],
      ["--read-only", "--tmpfs", "/scratch:size=1m", "--volume", "/etc/passwd:/mnt/passwd:ro"],
      ["--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--shm-size", "2m"],
    ].flat();
    const script = [
      "id; pwd; echo $A; hostname; ulimit -n; ulimit -Hn",
      "grep -E '^(Cap|NoNewPrivs|Seccomp:|Cpus_allowed_list)' /proc/self/status",
      "echo out > /dev/stdout; echo err > /dev/stderr; touch /file; touch /scratch/file; ls /scratch",
      "cut -d' ' -f2-4 /proc/mounts | sed 's/lowerdir.*//' | sort; wc -l < /mnt/passwd",
    ].join("; ");
    const result = await c.script(flags, script);
    expect(result.stdout).toContain("uid=1000(default-user) gid=1000(default-user)");
    expect(result.stdout).toContain("\nout\n");
    expect(result.stderr).toContain("err\n");
    return result;
  }),
);

test(
  "what a container leaves in the pid namespace of the host is ended with it",
  both(engine, async (c) => {
    const marker = c.named("left").replace(/\D/g, "") + "77";
    const flags = ["--pid", "host"];
    const result = await c.script(flags, `sleep ${marker} & sleep 0.5; exit 6`);
    expect(result.code).toBe(6);
    const left = await c.script(flags, `ps -o args | grep -c '[s]leep ${marker}'`);
    expect(left.stdout).toBe("0\n");
  }),
);

test(
  "a container goes on when the docker that shows it has gone",
  both(engine, async (c) => {
    await c.start("talking", [], "i=0; while :; do echo $((i++)); sleep 0.05; done");
    expect(await c.cutShort("talking", "attach", "--sig-proxy=false")).toMatchObject({ code: "SIGKILL" });
    expect(await c.state("talking")).toMatchObject({ Status: "running" });
  }),
);

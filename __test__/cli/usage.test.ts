import { describe, expect, it } from "vitest";
import { needsTerminal, noTerminal, onTerminal, shimctl, visible } from "./shimctl.js";

const COMMANDS = [
  "ls",
  "call",
  "describe",
  "events",
  "stats",
  "proxy",
  "bench",
  "new-shim",
  "pack",
  "completion",
];

describe("help", () => {
  it("of the whole command names every command, and the exit codes", async () => {
    const { code, stdout, stderr } = await shimctl(["--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
    await expect(stdout).toMatchFileSnapshot("golden/help.txt");
  });

  it.each(COMMANDS)("of %s names its arguments and options", async (command) => {
    // The default address of events is in the user's folder.
    const env = { XDG_RUNTIME_DIR: undefined };
    const { code, stdout, stderr } = await shimctl([command, "--help"], { env });
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    await expect(stdout).toMatchFileSnapshot(`golden/help-${command}.txt`);
  });

  it.each([[["help"], "golden/help.txt"] as const, [["help", "ls"], "golden/help-ls.txt"] as const])(
    "is what %j prints",
    async (args, golden) => {
      const { code, stdout, stderr } = await shimctl(args);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      await expect(stdout).toMatchFileSnapshot(golden);
    },
  );

  it.skipIf(noTerminal)(`has headings in bold on a terminal${needsTerminal}`, async () => {
    const { code, stdout } = await onTerminal(["--help"]);
    expect(code).toBe(0);
    expect(visible(stdout)).toMatch(/^␛\[1mCommands:␛\[22m$/m);
  });

  it("has no escape sequences in a pipe", async () => {
    expect((await shimctl(["--help"], { env: { FORCE_COLOR: "0" } })).stdout).not.toContain("\x1b");
  });

  it("is all that a command line without a command prints, as an error", async () => {
    const { code, stdout, stderr } = await shimctl([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("Commands:");
  });
});

describe("the version", () => {
  it("is the package's", async () => {
    const { version } = (await import("../../package.json", { with: { type: "json" } })).default;
    expect(await shimctl(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  });
});

describe("a wrong command line ends with 2 and says what to do:", () => {
  it.each([
    ["an unknown command", ["lss"], "unknown command 'lss'\n(Did you mean ls?)"],
    ["help of an unknown command", ["help", "lss"], "Allowed choices are ls, call, describe"],
    ["an unknown option", ["ls", "--jsno"], "unknown option '--jsno'\n(Did you mean --json?)"],
    ["a missing argument", ["call"], "missing required argument 'target'"],
    ["a missing method", ["call", "/x"], "missing required argument 'service/method'"],
    ["one argument too many", ["stats", "/x", "id", "more"], "too many arguments"],
    ["an option without its value", ["call", "/x", "A/B", "--timeout"], "argument missing"],
    ["an invalid timeout", ["call", "/x", "A/B", "--timeout", "soon"], "500ms, 2s or 5m"],
    ["a timeout of zero", ["call", "/x", "A/B", "--timeout", "0"], "500ms, 2s or 5m"],
    ["an invalid count", ["bench", "/x", "A/B", "--calls", "0"], "1 or more"],
    ["metadata without a value", ["call", "/x", "A/B", "-m", "key"], "Metadata must be key=value."],
    ["an unknown kind", ["call", "/x", "A/B", "--raw", "--kind", "both"], "Allowed choices are unary"],
    ["an empty state folder", ["ls", "--state="], "It must not be empty."],
    ["an empty address", ["ls", "--address="], "It must not be empty."],
    ["an empty namespace", ["-n", "", "ls"], "It must not be empty."],
    ["an empty folder of sockets", ["ls", "--sockets", ""], "It must not be empty."],
    ["a duration that is too long", ["ls", "--timeout", "600h"], "at most 2147483647ms"],
    ["an unknown shell", ["completion", "tcsh"], "Allowed choices are bash, zsh, fish"],
  ])("%s", async (_, args, said) => {
    const { code, stdout, stderr } = await shimctl(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("shimctl: ");
    expect(stderr).toContain(said);
    expect(stderr).toContain("try `shimctl help");
  });

  it.each([
    [
      "a method without a service",
      ["call", "/x", "State"],
      "is not SERVICE/METHOD",
      "try `shimctl describe`",
    ],
    ["an unknown service", ["call", "/x", "no.Such/State"], "there is no service no.Such", "--proto"],
    [
      "an unknown method",
      ["call", "/x", "containerd.task.v2.Task/Stat"],
      "containerd.task.v2.Task has no method Stat",
      "one of State, Create, Start",
    ],
    [
      "a name that several services end with",
      ["describe", "Task"],
      "Task is ambiguous",
      "one of containerd.task.v2.Task, containerd.task.v3.Task",
    ],
    ["an invalid address", ["call", "unix://x", "v2.Task/State"], 'the address "unix://x" is not one of', ""],
    ["a relative path to call", ["call", "./x", "v2.Task/State"], 'the address "./x" is not one of', ""],
    ["a relative path to listen on", ["events", "./x"], 'the address "./x" is not one of', ""],
    ["a method that no version has", ["call", "/x", "Task/Stat"], "has no method Stat", "one of State"],
    [
      "a container's id without a state folder",
      ["call", "web", "Task/State", "--state", "/no/such"],
      "/no/such is not containerd's state folder",
      "--state",
    ],
    [
      "a kind for a known method",
      ["call", "/x", "v2.Task/State", "--kind", "unary"],
      "--kind needs --raw",
      "",
    ],
    [
      "a stream to measure",
      ["bench", "/x", "streaming.v1.Streaming/Stream"],
      "bench measures unary methods",
      "",
    ],
    [
      "an unknown name to describe",
      ["describe", "Nothing"],
      "there is no service or message Nothing",
      "--proto",
    ],
    ["a missing state folder", ["ls", "--state", "/no/such"], "not containerd's state folder", "--state"],
    ["an invalid address to listen on", ["proxy", "x", "/y"], 'the address "x"', ""],
    [
      "a vsock as the target",
      ["proxy", "/x", "vsock://2:1"],
      "proxy connects only to unix, tcp and hvsock addresses, not vsock://2:1",
      "",
    ],
    [
      "a hypervisor's socket to listen on",
      ["proxy", "hvsock:///run/127.0.0.1:5:1024", "/x"],
      "proxy listens only on unix and tcp addresses, not hvsock:///run/127.0.0.1:5:1024",
      "",
    ],
  ])("%s", async (_, args, said, hint) => {
    const { code, stdout, stderr } = await shimctl(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(`shimctl: `);
    expect(stderr).toContain(said);
    expect(stderr).toContain(hint);
  });
});

describe("an error", () => {
  it.skipIf(noTerminal)(`is red only on a terminal${needsTerminal}`, async () => {
    const { code, stdout } = await onTerminal(["describe", "Nothing"]);
    expect(code).toBe(2);
    expect(visible(stdout)).toMatch(/^␛\[31mshimctl: there is no service or message Nothing␛\[39m$/m);
    expect((await shimctl(["describe", "Nothing"])).stderr).not.toContain("\x1b");
  });
});

import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { once } from "node:events";
import { join, parse } from "node:path";
import { create } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";
import {
  Code,
  connect,
  connectSync,
  createClient,
  createServer,
  createSyncClient,
  type Server,
} from "containerd-shim-protos";
import { Task } from "containerd-shim-protos/task/v3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { aborted, rejection } from "../helpers/outcome.js";
import { ROOT, temporaryFolder } from "../helpers/program.js";
import { pathOf, staleSocket, temporaryAddress, temporaryPath } from "../helpers/temp.js";
import { textOf } from "./blocks.js";

const address = temporaryAddress();
let server: Server;

const serving = (maxConcurrentCalls?: number) =>
  createServer({ maxConcurrentCalls }).add(Task, {
    connect: () => ({ shimPid: "one" as never }),
    state: () => ({ id: "x".repeat(5_000_000) }),
    async wait(_, { signal }) {
      throw await aborted(signal);
    },
  });

beforeAll(async () => {
  server = serving();
  await server.listen(address);
});

afterAll(() => server.close({ graceMs: 0 }));

async function withTask(
  call: (task: ReturnType<typeof createClient<typeof Task>>) => Promise<unknown>,
  at = address,
) {
  const connection = await connect(at);
  try {
    await call(createClient(Task, connection));
  } finally {
    await connection.close();
  }
}

const id = "web";

/** Code that causes each message, in the order of the page. */
const CAUSES: readonly (() => Promise<unknown>)[] = [
  () => connect(temporaryAddress()),
  () => connect(staleSocket()),
  () => createServer().listen(address),
  () => {
    const stale = staleSocket();
    const { dir, base } = parse(pathOf(stale));
    mkdirSync(join(dir, `.${base}.ttrpc-lock`));
    return createServer().listen(stale, { reclaimStale: true });
  },
  () => createServer().listen(`unix://${temporaryPath()}/none.sock`),
  () => connect("containerd.sock"),
  () => connect(`/${"x".repeat(107)}`),
  async () => {
    const path = temporaryPath(".sock");
    const http = createHttpServer().listen(path);
    await once(http, "listening");
    try {
      await (await connect(path)).unary("a.B", "C", new Uint8Array());
    } finally {
      http.close();
    }
  },
  async () => (await connect(address)).unary("containerd.task.v2.Task", "State", new Uint8Array()),
  () => withTask((task) => task.wait({ id }, { timeoutMs: 10 })),
  async () => {
    const connection = await connect(address);
    await connection.close();
    await createClient(Task, connection).connect({ id });
  },
  () => withTask((task) => task.connect({ id: 5 as never })),
  () => withTask((task) => task.exec({ exec_id: "e" } as never)),
  () => withTask((task) => task.state({ id })),
  async () => {
    // A server of its own: elsewhere, the call of another case could still have the only place.
    const busy = serving(1);
    try {
      await withTask(
        async (task) => {
          task.wait({ id }).catch(() => undefined);
          await task.connect({ id });
        },
        await busy.listen(temporaryAddress()),
      );
    } finally {
      await busy.close({ graceMs: 0 });
    }
  },
  async () => {
    const connection = await connect(address);
    const calls = Array.from({ length: 70 }, () => connection.unary("a.B", "C", new Uint8Array(1 << 20)));
    const outcomes = await Promise.allSettled(calls);
    await connection.close();
    const full = outcomes
      .filter(({ status }) => status === "rejected")
      .map((each) => (each as PromiseRejectedResult).reason);
    throw full.find(({ code }) => code === Code.ResourceExhausted);
  },
  async () => createSyncClient(Task, connectSync(address)).connect({ id }, { timeoutMs: 1000 }),
  async () => JSON.stringify(create(TimestampSchema, { seconds: 5n })),
  () => withTask((task) => task.connect({ id })),
  async () => server.addRaw("a.B", {}),
  async () => createServer().add(Task, {}).add(Task, {}),
  async () => {
    const env = { ...process.env, NAPI_RS_NATIVE_LIBRARY_PATH: temporaryPath(".node") };
    const script = `import("containerd-shim-protos").catch((error) => console.log(error.message))`;
    throw new Error(execFileSync(process.execPath, ["-e", script], { cwd: ROOT, env, encoding: "utf8" }));
  },
  async () => {
    const folder = temporaryFolder();
    // As pnpm installs it: what the package depends on is beside the package, and out of the project's sight.
    const modules = join(folder, "node_modules/.pnpm/containerd-shim-protos/node_modules");
    const declarations = (file: string) => !/\.(?:js|map|node)$/.test(file);
    for (const [from, to] of [
      ["dist", "containerd-shim-protos/dist"],
      ["package.json", "containerd-shim-protos/package.json"],
      ["node_modules/@bufbuild/protobuf", "@bufbuild/protobuf"],
    ] as const) {
      cpSync(join(ROOT, from), join(modules, to), { recursive: true, filter: declarations });
    }
    symlinkSync(join(modules, "containerd-shim-protos"), join(folder, "node_modules/containerd-shim-protos"));
    const compilerOptions = { declaration: true, skipLibCheck: true };
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions }));
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    writeFileSync(
      join(folder, "task.ts"),
      `import { type Connection, createClient } from "containerd-shim-protos";
       import { Task } from "containerd-shim-protos/task/v3";
       export const taskOn = (connection: Connection) => createClient(Task, connection);`,
    );
    const tsc = join(ROOT, "node_modules/typescript/bin/tsc");
    const { stdout } = spawnSync(process.execPath, [tsc, "-p", folder], { encoding: "utf8" });
    throw new Error(/error TS\d+: (.*)/.exec(stdout)?.[1]);
  },
];

const messages = [...textOf("docs/troubleshooting.md").matchAll(/^\| `(.+?)` +\|/gm)].map(
  ([, text = ""]) => text,
);

describe("the troubleshooting guide", () => {
  it("has a cause for each of its messages", () => {
    expect(messages).toHaveLength(CAUSES.length);
  });

  it.each(messages.map((message, index) => [message, CAUSES[index]!] as const))(
    "quotes the message `%s` exactly",
    async (message, cause) => {
      const pattern = message
        .split("…")
        .map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`))
        .join("[^]+");
      const error = (await rejection(cause())) as Error & { rawMessage?: string };
      expect(error.rawMessage ?? error.message).toMatch(new RegExp(`^${pattern}$`));
    },
  );
});

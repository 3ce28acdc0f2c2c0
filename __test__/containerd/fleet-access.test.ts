import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type ConnectionOptions,
  credsAuthenticator,
  nkeys,
  tokenAuthenticator,
  usernamePasswordAuthenticator,
} from "@nats-io/transport-node";
import { createPublisher, TaskExitSchema } from "containerd-shim-protos/events";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { accessOf } from "../../examples/fleet/access.js";
import { Started } from "../helpers/started.js";
import { buildFleet } from "./fleet-collector.js";
import { hasNats, Nats } from "./nats.js";
import { findTool, REQUIRED } from "./requirements.js";

const missing = [...(hasNats ? [] : ["nats-server"]), ...(findTool("openssl") ? [] : ["openssl"])];
if (missing.length > 0 && REQUIRED) throw new Error(`this machine lacks ${missing.join(", ")}`);
const note = missing.length > 0 ? ` (skipped: needs ${missing.join(", ")})` : "";

const PASSWORD = "s3cret \"with' signs";
const WAIT = { timeout: 20_000, interval: 50 };

describe.skipIf(missing.length > 0)(`the fleet's access to NATS${note}`, () => {
  let folder: string;
  let program: string;
  let made = 0;
  const path = (name: string) => join(folder, name);
  const file = (name: string, content: string) => {
    writeFileSync(path(name), content);
    return path(name);
  };

  beforeAll(async () => {
    folder = mkdtempSync("/tmp/shim-access-");
    program = await buildFleet(join(import.meta.dirname, "../../target/fleet/access.mjs"));
    for (const authority of ["ca", "other"]) {
      openssl(
        "req",
        "-x509",
        "-nodes",
        "-subj",
        `/CN=${authority}`,
        ...newKey(authority),
        "-out",
        path(`${authority}.pem`),
      );
    }
    for (const name of ["server", "client"]) {
      openssl("req", "-nodes", "-subj", `/CN=${name}`, ...newKey(name), "-out", path(`${name}.csr`));
      const extensions = file(`${name}.ext`, "subjectAltName=DNS:localhost\n");
      const authority = ["-CA", path("ca.pem"), "-CAkey", path("ca.key"), "-CAcreateserial"];
      openssl(
        "x509",
        "-req",
        "-in",
        path(`${name}.csr`),
        ...authority,
        "-extfile",
        extensions,
        "-out",
        path(`${name}.pem`),
      );
    }
    file("password", `${PASSWORD}\n`);
    file("token", "t0ken");
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function openssl(...args: string[]): void {
    execFileSync("openssl", args, { stdio: "pipe" });
  }

  const newKey = (name: string) => [
    "-newkey",
    "ec",
    "-pkeyopt",
    "ec_paramgen_curve:P-256",
    "-keyout",
    path(`${name}.key`),
  ];

  async function server(lines: string[], options: ConnectionOptions): Promise<Nats> {
    const nats = await Nats.start(path(`nats-${made++}`), lines, options);
    onTestFinished(() => nats.kill());
    return nats;
  }

  /** A server with TLS, which asks for a client's certificate, and one user, who may publish for one host. */
  function secured(): Promise<Nats> {
    const permissions = '{ publish: ["containerd.node-1.>", "$JS.API.>"], subscribe: ["_INBOX.>"] }';
    const user = `{ user: "fleet", password: ${JSON.stringify(PASSWORD)}, permissions: ${permissions} }`;
    return server(
      [
        `tls { cert_file: "${path("server.pem")}", key_file: "${path("server.key")}", ca_file: "${path("ca.pem")}", verify: true }`,
        `authorization { users: [${user}] }`,
      ],
      {
        tls: { caFile: path("ca.pem"), certFile: path("client.pem"), keyFile: path("client.key") },
        authenticator: usernamePasswordAuthenticator("fleet", PASSWORD),
      },
    );
  }
  const tls = () => [
    "--tls-ca",
    path("ca.pem"),
    "--tls-cert",
    path("client.pem"),
    "--tls-key",
    path("client.key"),
  ];
  const user = () => ["--user", "fleet", "--password-file", path("password")];

  /** The client compares a certificate with the name in the URL, which must not be an IP address. */
  const secure = (nats: Nats) => nats.url.replace("nats://127.0.0.1", "tls://localhost");

  /** Starts a collector and publishes an event to it. */
  async function collect(url: string, args: string[]): Promise<Started> {
    const address = `unix://${path(`${made}.sock`)}`;
    const own = ["--host", "node-1", "--listen", address, "--spool", path(`${made++}.db`)];
    const collector = new Started(process.execPath, [program, "collect", ...own, "--nats", url, ...args]);
    onTestFinished(() => collector[Symbol.asyncDispose]());
    await collector.printed("collecting");
    await using publisher = createPublisher(address, { namespace: "access" });
    await publisher.publish("/tasks/exit", TaskExitSchema, { containerId: "web", exitStatus: 3 });
    return collector;
  }

  /** An event goes through NATS, from a collector to `watch`. */
  async function expectThrough(nats: Nats, url: string, args: string[]): Promise<void> {
    await collect(url, args);
    await vi.waitFor(async () => expect(await nats.count("CONTAINERD")).toBe(1), WAIT);
    await using watch = new Started(process.execPath, [
      program,
      "watch",
      "--json",
      "--since",
      "1h",
      "--nats",
      url,
      ...args,
    ]);
    await watch.printed('"exitStatus":3');
  }

  test("is a user over TLS, with a certificate of its own", async () => {
    const nats = await secured();
    await expectThrough(nats, secure(nats), [...tls(), ...user()]);
  });

  test("is a token", async () => {
    const nats = await server(['authorization { token: "t0ken" }'], {
      authenticator: tokenAuthenticator("t0ken"),
    });
    await expectThrough(nats, nats.url, ["--token-file", path("token")]);
  });

  test("is a credentials file", async () => {
    const [operator, account, member] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()];
    const any = { subs: -1, data: -1, payload: -1 };
    const limits = {
      ...any,
      imports: -1,
      exports: -1,
      wildcards: true,
      conn: -1,
      leaf: -1,
      mem_storage: -1,
      disk_storage: -1,
      streams: -1,
      consumer: -1,
    };
    const creds = file(
      "fleet.creds",
      [
        "-----BEGIN NATS USER JWT-----",
        jwt(account, member, { type: "user", ...any, pub: {}, sub: {} }),
        "------END NATS USER JWT------",
        "-----BEGIN USER NKEY SEED-----",
        Buffer.from(member.getSeed()).toString(),
        "------END USER NKEY SEED------",
        "",
      ].join("\n"),
    );
    const system = nkeys.createAccount();
    const accounts = [account, system].map(
      (each) =>
        `${each.getPublicKey()}: ${jwt(operator, each, { type: "account", limits: each === account ? limits : any })}`,
    );
    const nats = await server(
      [
        `operator: ${JSON.stringify(file("operator.jwt", jwt(operator, operator, { type: "operator" })))}`,
        "resolver: MEMORY",
        `system_account: ${system.getPublicKey()}`,
        `resolver_preload: {\n${accounts.join("\n")}\n}`,
      ],
      { authenticator: credsAuthenticator(readFileSync(creds)) },
    );
    await expectThrough(nats, nats.url, ["--creds", creds]);
  });

  test.each<[string, () => string[], RegExp]>([
    [
      "another user's password",
      () => [...tls(), "--user", "fleet", "--password-file", path("token")],
      /Authorization Violation/i,
    ],
    ["no user", () => tls(), /Authorization Violation/i],
    [
      "an authority that did not sign the server's certificate",
      () => ["--tls-ca", path("other.pem"), ...tls().slice(2), ...user()],
      /unable to|self.signed|certificate/i,
    ],
    ["no certificate of its own", () => [...tls().slice(0, 2), ...user()], /certificate|closed|ECONNRESET/i],
  ])(
    "is refused with %s: the collector says why, keeps the event, and tries again",
    async (_, args, reason) => {
      const nats = await secured();
      const collector = await collect(secure(nats), args());
      await vi.waitFor(() => expect(collector.errors.match(/NATS: .+/g)?.length).toBeGreaterThan(1), WAIT);
      expect(collector.errors).toMatch(reason);
      expect(await nats.count("CONTAINERD")).toBe(0);
    },
  );

  test("is refused by a collector that wants TLS, if the server has none", async () => {
    const nats = await server([], {});
    const collector = await collect(secure(nats), []);
    await vi.waitFor(() => expect(collector.errors).toMatch(/NATS: .*tls/i), WAIT);
    expect(await nats.count("CONTAINERD")).toBe(0);
  });

  test.each<[string, object, string]>([
    [
      "two ways to be known",
      { creds: "a", "token-file": "b" },
      "--creds and --token-file exclude each other",
    ],
    ["a user without a password", { user: "a" }, "--user and --password-file belong together"],
    ["a certificate without its key", { "tls-cert": "a" }, "--tls-cert and --tls-key belong together"],
    [
      "a file that is not there",
      { "tls-ca": "/none/ca.pem" },
      "--tls-ca: ENOENT: no such file or directory, open '/none/ca.pem'",
    ],
  ])("that has %s is an error that names the option", (_, options, text) => {
    expect(() => accessOf(options)).toThrow(text);
  });

  test("with a wrong option ends a collector at once", async () => {
    await using collector = new Started(process.execPath, [
      program,
      "collect",
      "--creds",
      "/none.creds",
      "--spool",
      path("none.db"),
    ]);
    expect(await collector.ended()).toBe(1);
    expect(collector.errors).toBe("--creds: ENOENT: no such file or directory, open '/none.creds'\n");
  });
});

/** A JSON web token of NATS. */
function jwt(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, nats: object): string {
  const claims = {
    jti: randomUUID(),
    iat: Math.floor(Date.now() / 1000),
    iss: issuer.getPublicKey(),
    name: "fleet",
    sub: subject.getPublicKey(),
    nats: { ...nats, version: 2 },
  };
  const encoded = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const signed = `${encoded({ typ: "JWT", alg: "ed25519-nkey" })}.${encoded(claims)}`;
  return `${signed}.${Buffer.from(issuer.sign(Buffer.from(signed))).toString("base64url")}`;
}

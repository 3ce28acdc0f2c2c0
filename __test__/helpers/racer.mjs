/** One of several servers that listen at the same moment. A message says when, and the outcome is sent back. */
const { createServer, TtrpcError } = await import(process.env["TEST_PACKAGE"] ?? "containerd-shim-protos");

let server;

async function listen({ address, at }) {
  server = createServer();
  const handle = () => new TextEncoder().encode(String(process.pid));
  server.addRaw("a.B", { C: { kind: "unary", handle } });
  while (performance.timeOrigin + performance.now() < at);
  try {
    await server.listen(address, { mode: 0o600, reclaimStale: true });
    return "listens";
  } catch (error) {
    return error instanceof TtrpcError ? error.cause.code : String(error);
  }
}

async function close({ at }) {
  while (performance.timeOrigin + performance.now() < at);
  await server.close({ graceMs: 0 });
  return "closed";
}

process.on("message", async (message) => process.send(await (message.address ? listen : close)(message)));
process.send("ready");

/**
 * Measures a client that does nothing else, in a process of its own: `starting.mjs CLIENT PATH` prints one line of JSON
 * with the CPU time of its imports in ms, and what is resident at the first typed call and after a second of calls, in
 * MiB. `starting.mjs empty` measures Node alone; `starting.mjs serve CLIENT PATH` serves until its input ends. It is plain
 * JavaScript, since a translator would be resident too.
 */

const [name, ...args] = process.argv.slice(2);

const resident = () => process.memoryUsage.rss() / (1 << 20);

const clients = {
  async package(path) {
    const { connect, createClient } = await import("containerd-shim-protos");
    const { Task } = await import("containerd-shim-protos/task/v3");
    return async () => {
      const task = createClient(Task, await connect(`unix://${path}`));
      return () => task.connect({ id: "web" });
    };
  },
  async grpc(path) {
    const { Client, credentials } = await import("@grpc/grpc-js");
    const encode = ({ id }) => Buffer.from(id);
    const decode = (bytes) => ({ id: bytes.toString() });
    return async () => {
      const client = new Client(`unix:${path}`, credentials.createInsecure());
      return () =>
        new Promise((resolve, reject) => {
          client.makeUnaryRequest("/test.Task/Connect", encode, decode, { id: "web" }, (error, answer) =>
            error === null ? resolve(answer) : reject(error),
          );
        });
    };
  },
};

const servers = {
  async package(path) {
    const { createServer } = await import("containerd-shim-protos");
    const { Task } = await import("containerd-shim-protos/task/v3");
    const server = createServer();
    server.add(Task, { connect: () => ({ shimPid: 7 }) });
    await server.listen(`unix://${path}`);
  },
  async grpc(path) {
    const { Server, ServerCredentials } = await import("@grpc/grpc-js");
    const same = (bytes) => bytes;
    const method = { path: "/test.Task/Connect", requestStream: false, responseStream: false };
    const codec = {
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    const server = new Server();
    server.addService(
      { connect: { ...method, ...codec } },
      { connect: ({ request }, reply) => reply(null, request) },
    );
    await new Promise((resolve, reject) => {
      server.bindAsync(`unix:${path}`, ServerCredentials.createInsecure(), (error) =>
        error === null ? resolve() : reject(error),
      );
    });
  },
};

if (name === "empty") {
  console.log(JSON.stringify({ resident: resident() }));
} else if (name === "serve") {
  const [of, path] = args;
  await servers[of](path);
  console.log("serves");
  process.stdin.resume().on("end", () => process.exit(0));
} else {
  const [path] = args;
  const start = process.cpuUsage();
  const open = await clients[name](path);
  const { user, system } = process.cpuUsage(start);
  const call = await open();
  await call();
  const first = resident();
  const end = performance.now() + 1000;
  const loop = async () => {
    while (performance.now() < end) await call();
  };
  await Promise.all(Array.from({ length: 64 }, loop));
  console.log(JSON.stringify({ importMs: (user + system) / 1000, first, after: resident() }));
  process.exit(0);
}

/**
 * Measures the time to load a package and to make the first call, in milliseconds from when Node runs this file. It is
 * plain JavaScript, since translating TypeScript would add to the load time. Prints one line of JSON.
 */

const [name, path] = process.argv.slice(2);

const payload = new Uint8Array(64);

const contenders = {
  async package() {
    const { connect } = await import("containerd-shim-protos");
    return async () => {
      const connection = await connect(`unix://${path}`);
      await connection.unary("test.Bench", "Echo", payload);
    };
  },
  async typed() {
    const { connect, createClient } = await import("containerd-shim-protos");
    const { Events } = await import("containerd-shim-protos/events");
    return async () => {
      const events = createClient(Events, await connect(`unix://${path}`));
      await events.forward({ envelope: { topic: "/tasks/start" } });
    };
  },
  async grpc() {
    const { Client, credentials } = await import("@grpc/grpc-js");
    const same = (bytes) => Buffer.from(bytes);
    return () => {
      const client = new Client(`unix:${path}`, credentials.createInsecure());
      return new Promise((resolve, reject) => {
        client.makeUnaryRequest("/test.Bench/Echo", same, same, payload, (error) =>
          error === null ? resolve() : reject(error),
        );
      });
    };
  },
};

const start = performance.now();
const call = await contenders[name]();
const loaded = performance.now();
await call();
const called = performance.now();
console.log(JSON.stringify({ loadMs: loaded - start, callMs: called - loaded }));
process.exit(0);

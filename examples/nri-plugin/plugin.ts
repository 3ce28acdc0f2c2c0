import { connect as dial } from "node:net";
import { connect, createClient, createServer } from "containerd-shim-protos";
import { Event, Plugin, Runtime } from "./gen/nri_pb.js";
import { Mux, PLUGIN_SERVICE, RUNTIME_SERVICE } from "./mux.js";

const [path = "/var/run/nri/nri.sock"] = process.argv.slice(2);
const mux = new Mux(dial(path));

const server = createServer();
server.add(Plugin, {
  configure({ runtimeName, runtimeVersion }) {
    console.log(`configured by ${runtimeName} ${runtimeVersion}`);
    return { events: 1 << (Event.CREATE_CONTAINER - 1) };
  },
  synchronize({ pods, containers, more }) {
    console.log(`${pods.length} pods, ${containers.length} containers`);
    return { more };
  },
  createContainer({ pod, container }) {
    console.log(`${pod?.namespace}/${pod?.name}: ${container?.name} is being created`);
    return { adjust: { env: [{ key: "SEEN_BY", value: "node" }] } };
  },
  shutdown: () => ({}),
});
await server.listen(mux.open(PLUGIN_SERVICE));

const connection = await connect(mux.open(RUNTIME_SERVICE));
const runtime = createClient(Runtime, connection);
await runtime.registerPlugin({ pluginName: "node-example", pluginIdx: "10" }, { timeoutMs: 5000 });
console.log("registered");
process.once("SIGINT", () => connection.close());

const { reason } = await connection.closed;
console.log(`the connection ended: ${reason}`);
await server.close();

import { connect, createClient } from "containerd-shim-protos";
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from "./gen/health_pb.js";

const AGENT_PORT = 1024;
const [path] = process.argv.slice(2);
if (path === undefined) throw new Error("usage: health.ts /run/vc/vm/SANDBOX/clh.sock");

const connection = await connect(`hvsock://${path}:${AGENT_PORT}`);
const health = createClient(Health, connection);
const { status } = await health.check({}, { timeoutMs: 1000 });
const { agentVersion } = await health.version({}, { timeoutMs: 1000 });
console.log(`the agent, version ${agentVersion}, is ${ServingStatus[status]}`);
await connection.close();

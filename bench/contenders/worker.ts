/**
 * A JavaScript contender in a separate process, kept for a whole run: `worker.ts client NAME` measures a job for each
 * line of stdin; `worker.ts server NAME PATH` serves until stdin ends.
 */

import { createInterface } from "node:readline";
import type { Job } from "../job.js";
import { loadContender } from "./load.js";
import { measure } from "./measure.js";

const [role, name = "", path = ""] = process.argv.slice(2);
const contender = await loadContender(name);

if (role === "server") {
  await contender.serve(path);
  console.log("ready");
  // The bench has ended when stdin ends.
  process.stdin.on("end", () => process.exit(0)).resume();
} else {
  console.log("ready");
  for await (const line of createInterface({ input: process.stdin })) {
    const job = JSON.parse(line) as Job;
    const socket = job.address.replace("unix://", "");
    const clients = await Promise.all(
      Array.from({ length: job.connections }, () => contender.connect(socket)),
    );
    const result = await measure(clients, job);
    await Promise.all(clients.map((client) => client.close()));
    console.log(JSON.stringify(result));
  }
  process.exit(0);
}

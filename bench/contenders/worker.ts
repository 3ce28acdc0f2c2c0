/**
 * A contender in JavaScript, in a process of its own that is kept for a run:
 * `worker.ts client NAME` measures a job a line of stdin; `worker.ts server NAME PATH` serves until stdin ends.
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
  // The end of stdin is the end of the bench.
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

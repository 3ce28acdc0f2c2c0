/** One side of a contender, in a separate process: `process.js CONTENDER serve|publish PATH COUNT INFLIGHT`. */

import type { Contender } from "./event.js";

const [name = "", role, path = "", count = "0", inflight = "1"] = process.argv.slice(2);
const { contender } = (await import(`./${name}.js`)) as { contender: Contender };
const total = Number(count);

if (role === "publish") await contender.publish(path, total, Number(inflight));
else {
  let taken = 0;
  let ordered = true;
  let first = 0;
  const done = contender.serve(path, (exitStatus) => {
    ordered &&= exitStatus === taken;
    if (taken++ === 0) first = performance.now();
    if (taken < total) return;
    const seconds = (performance.now() - first) / 1000;
    console.log(JSON.stringify({ events: taken, seconds, ordered }));
  });
  console.log("ready");
  process.stdin.on("end", () => process.exit()).resume();
  await done;
}

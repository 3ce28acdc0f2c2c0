import { connect } from "containerd-shim-protos";
import { randomCall } from "./calls.js";
import { Counts } from "./counts.js";
import { hostile } from "./hostile.js";
import { Random } from "./random.js";
import { soakServer } from "./service.js";

/*
 * The other side: `server ADDRESS` serves until it is killed; `client ADDRESS SEED` calls until then. Both end with their
 * stdin, so that they cannot outlive their parent. `hostile ADDRESS SEED` attacks a server in the most costly ways.
 */

const [role, address = "", seed = "0"] = process.argv.slice(2);
process.stdin.resume().once("end", () => process.exit());
const counts = new Counts();

if (role === "server") {
  await soakServer(counts).listen(address, { reclaimStale: true });
  process.stdout.write("ready\n");
} else if (role === "hostile") {
  // It says that it is hostile, and is ready with its first attack.
  await hostile(address.replace("unix://", ""), new Random(Number(seed)));
} else {
  const connection = await connect(address, { waitForReady: true });
  process.stdout.write("ready\n");
  const random = new Random(Number(seed));
  const lane = async () => {
    for (;;) {
      await randomCall(connection, random, counts);
      for (const failure of counts.failures.splice(0)) process.stdout.write(`FAILED ${failure}\n`);
    }
  };
  await Promise.race([Promise.all([lane(), lane(), lane()]), connection.closed]);
  process.exit();
}

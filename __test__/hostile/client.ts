/** A hostile client in a process of its own: `client.ts NAME PATH`. It says when its attack is done, and stays. */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { type Attack, type AttackName, attacks } from "./attacks.js";

const [name = "", path = ""] = process.argv.slice(2);
const attack: Attack = attacks[name as AttackName];
const sockets: Socket[] = [];
for (let count = 0; count < attack.connections; count++) {
  const socket = connect(path);
  socket.on("error", () => undefined);
  sockets.push(socket);
  await once(socket, "connect");
}
console.log("connected");
await once(process.stdin, "data");
await attack.run(sockets, path);
console.log("done");
process.stdin.resume();

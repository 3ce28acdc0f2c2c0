import { once } from "node:events";
import { connect, type Socket } from "node:net";

/**
 * Opens a port of a guest over hybrid vsock: the unix socket that Cloud Hypervisor and Firecracker have for a VM. They
 * expect a line that names the port, and answer with one that starts with OK. All later bytes are the guest's.
 */
export async function openGuestPort(path: string, port: number, timeoutMs = 5000): Promise<Socket> {
  const signal = AbortSignal.timeout(timeoutMs);
  const socket = connect(path);
  try {
    socket.write(`CONNECT ${port}\n`);
    let answer = "";
    while (!answer.endsWith("\n")) {
      // One byte at a time, because the bytes after the line belong to ttrpc.
      const byte = socket.read(1) as Buffer | null;
      if (byte !== null) answer += byte.toString("latin1");
      else if (socket.readableEnded || answer.length > 100) break;
      else await Promise.race(["readable", "end"].map((event) => once(socket, event, { signal })));
    }
    if (!/^OK \d+\n$/.test(answer)) {
      throw new Error(`${path} does not open port ${port}: ${JSON.stringify(answer)}`);
    }
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

import { connect, createClient, createServer, type ServiceImpl } from "containerd-shim-protos";
import {
  Mux,
  Plugin,
  PLUGIN_CONNECTION,
  type PluginHandlers,
  type PluginOptions,
  runPlugin,
  Runtime,
  RUNTIME_CONNECTION,
} from "containerd-shim-protos/nri";
import { createServer as createSocketServer } from "node:net";
import { onTestFinished } from "vitest";
import { temporaryPath } from "../helpers/temp.js";

/** A log, and its lines. */
export function logged() {
  const lines: string[] = [];
  const write = (level: string) => (message: string) => void lines.push(`${level} ${message}`);
  return { lines, log: { info: write("info"), warn: write("warn"), error: write("error") } };
}

/** A runtime of which every call is made by the test, and one plugin that connects to it. */
export async function bareRuntime(
  handlers: PluginHandlers,
  events?: (keyof PluginHandlers)[],
  updateContainers: ServiceImpl<typeof Runtime>["updateContainers"] = ({ update }) => ({
    failed: update.slice(0, 1),
  }),
  more: PluginOptions = {},
) {
  const path = temporaryPath(".sock");
  const client = new Promise<ReturnType<typeof createClient<typeof Plugin>>>((resolve) => {
    const listener = createSocketServer((socket) => {
      const mux = new Mux(socket);
      const toPlugin = mux.open(PLUGIN_CONNECTION);
      const server = createServer().add(Runtime, {
        registerPlugin: () => ({}),
        updateContainers,
      });
      onTestFinished(async () => {
        listener.close();
        await mux.close();
        await server.close();
      });
      void server
        .listen(mux.open(RUNTIME_CONNECTION))
        .then(() => connect(toPlugin))
        .then((connection) => resolve(createClient(Plugin, connection)));
    }).listen(path);
  });
  const { lines, log } = logged();
  const options = {
    socket: path,
    ownsProcess: false,
    reconnect: false,
    log,
    events: events as never,
    ...more,
  };
  const plugin = runPlugin("bare", "00", handlers, options);
  onTestFinished(() => plugin.close());
  return { plugin, lines, client: await client };
}

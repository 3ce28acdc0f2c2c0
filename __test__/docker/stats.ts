import { type IncomingMessage, request } from "node:http";
import { json } from "node:stream/consumers";
import { once } from "node:events";
import { Engine } from "./engine.js";

/** Of the engine's statistics of a container, what tests look at. */
export interface Stats {
  readonly cpu_stats: { readonly cpu_usage: { readonly total_usage: number } };
  readonly memory_stats: { readonly limit: number };
  readonly pids_stats: { readonly limit: number };
}

/** The statistics of a container as the engine's API has them, once. */
export async function stats(name: string): Promise<Stats> {
  const path = `/containers/${name}/stats?stream=false&one-shot=true`;
  const asked = request({ socketPath: Engine.socket, path }).end();
  const [response] = (await once(asked, "response")) as [IncomingMessage];
  return (await json(response)) as Stats;
}

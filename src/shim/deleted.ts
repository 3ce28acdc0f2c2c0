import { rmSync } from "node:fs";
import { isAbsolute, join } from "node:path";
import { encode } from "../codec/codec.js";
import { DeleteResponseSchema, Task } from "../protos/task/v3.js";
import type { ServiceImpl } from "../server/service.js";
import { handlersOf } from "./handlers.js";
import { writeWhole } from "./write-file.js";

/** The file in a bundle that says how its container ended; the launcher reads it (`crate/launcher/delete.rs`). */
const FILE = "shim-deleted";

/** A service whose successful Delete notes in the bundle how the container ended: nothing is left for `delete`. */
export function notingDeletes(service: ServiceImpl<typeof Task>): ServiceImpl<typeof Task> {
  const handlers = handlersOf(Task, service);
  const { create, delete: remove } = handlers;
  if (create === undefined || remove === undefined) return service;
  const bundles = new Map<string, string>();
  handlers["create"] = async (request, context) => {
    const { id, bundle } = request as { id: string; bundle: string };
    // containerd names a folder. Other paths would be those of this process, which is in no bundle.
    if (!isAbsolute(bundle)) return create(request, context);
    // It may be of a container that was in the same bundle before.
    rmSync(join(bundle, FILE), { force: true });
    const reply = await create(request, context);
    bundles.set(id, bundle);
    return reply;
  };
  handlers["delete"] = async (request, context) => {
    const reply = await remove(request, context);
    const { id, execId } = request as { id: string; execId: string };
    const bundle = bundles.get(id);
    if (execId === "" && bundle !== undefined && bundles.delete(id)) note(bundle, reply);
    return reply;
  };
  return handlers as ServiceImpl<typeof Task>;
}

function note(bundle: string, reply: unknown): void {
  const { $typeName: _name, ...fields } = { ...(reply as object), $typeName: "" };
  try {
    writeWhole(join(bundle, FILE), encode(DeleteResponseSchema, fields), { mode: 0o600 });
  } catch {
    // Without the note, `delete` looks for something to clean up.
  }
}

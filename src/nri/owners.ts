import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { setEntry } from "../codec/read.js";
import { TtrpcError } from "../error.js";
import {
  Field,
  FieldOwnersSchema,
  type OwningPlugins,
  OwningPluginsSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import { unmarked } from "./entries.js";

/** The owners of a field by key, or under `undefined` that of a field without keys. */
type FieldOwner = Map<string | undefined, string>;

/**
 * Which plugin has set what, by container, field and key. NRI lets one plugin set an entry; whoever clears the entry first
 * may set it after another. What one plugin sets twice is a conflict of the plugin with itself.
 */
export class Owners {
  readonly #owners = new Map<string, Map<Field, FieldOwner>>();

  /** Makes the plugin the owner. Throws a TtrpcError that says as NRI does which plugins conflict, and over what. */
  claim(id: string, field: Field, plugin: string, key?: string): void {
    const owners = this.#of(id, field);
    const owner = owners.get(key);
    if (owner !== undefined && owner !== cleared(plugin)) {
      const names = `plugins "${plugin}" and "${unmarked(owner)}"`;
      throw new TtrpcError(`${names} both tried to set ${Field[field]} ${key ?? ""}`, Code.Unknown);
    }
    owners.set(key, plugin);
  }

  /** Lets the plugin, and no other, set what has an owner. */
  clear(id: string, field: Field, plugin: string, key?: string): void {
    this.#of(id, field).set(key, cleared(plugin));
  }

  /** Adds an owner to those of a field that all plugins may add to. */
  join(id: string, field: Field, plugin: string): void {
    const owners = this.#of(id, field);
    const others = owners.get(undefined);
    owners.set(undefined, others === undefined ? plugin : `${others},${plugin}`);
  }

  /** The owners, as plugins that validate see them. */
  get message(): OwningPlugins {
    const message = create(OwningPluginsSchema);
    for (const [id, fields] of this.#owners) {
      const init: Required<Pick<MessageInitShape<typeof FieldOwnersSchema>, "simple" | "compound">> = {
        simple: {},
        compound: {},
      };
      for (const [field, owners] of fields) {
        const simple = owners.get(undefined);
        if (simple !== undefined) init.simple[field] = simple;
        else init.compound[field] = { owners: record(owners as Map<string, string>) };
      }
      setEntry(message.owners, id, create(FieldOwnersSchema, init));
    }
    return message;
  }

  #of(id: string, field: Field): FieldOwner {
    const fields = this.#owners.get(id) ?? new Map<Field, FieldOwner>();
    this.#owners.set(id, fields);
    const owners = fields.get(field) ?? new Map<string | undefined, string>();
    fields.set(field, owners);
    return owners;
  }
}

const cleared = (plugin: string): string => `-${plugin}`;

function record(owners: ReadonlyMap<string, string>): Record<string, string> {
  const result: Record<string, string> = {};
  for (const [key, plugin] of owners) setEntry(result, key, plugin);
  return result;
}

import type { DescMethod, DescService } from "@bufbuild/protobuf";
import type { ServiceDescriptorProto } from "@bufbuild/protobuf/wkt";
import type { Fields } from "./bytes.js";
import { methodName } from "./names.js";
import { fullName, messageNamed, type OwnFile } from "./types.js";

const KINDS = ["unary", "client_streaming", "server_streaming", "bidi_streaming"] as const;

/** Makes the descriptor of a service from a ServiceDescriptorProto. `proto` gives that as protobuf-es decodes it. */
export function serviceOf(
  context: OwnFile,
  fields: Fields,
  proto: () => ServiceDescriptorProto,
): DescService {
  const name = fields.string(1);
  const typeName = fullName(context, undefined, name);
  const desc: DescService = {
    kind: "service",
    get proto() {
      return proto();
    },
    deprecated: fields.option(3, 33) === 1,
    file: context.file,
    name,
    typeName,
    methods: [],
    method: {},
    toString: () => `service ${typeName}`,
  };
  fields.messages(2).forEach((each, index) => {
    const rpc = each.string(1);
    const method: DescMethod = {
      kind: "rpc",
      get proto() {
        return proto().method[index]!;
      },
      deprecated: each.option(4, 33) === 1,
      parent: desc,
      name: rpc,
      localName: methodName(rpc),
      methodKind: KINDS[(each.integer(5) ?? 0) | ((each.integer(6) ?? 0) << 1)]!,
      input: messageNamed(context, each.string(2)),
      output: messageNamed(context, each.string(3)),
      idempotency: each.option(4, 34) ?? 0,
      toString: () => `rpc ${typeName}.${rpc}`,
    };
    desc.methods.push(method);
    desc.method[method.localName] = method;
  });
  return desc;
}

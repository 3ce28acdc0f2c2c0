import type { ShimPlacement, StartRequest } from "containerd-shim-protos/shim";
import { readSpec } from "containerd-shim-protos/shim/spec";

/** Containers that agree in the first of these have one shim: a pod, or a group of runc's own label. */
const LABELS = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/** Where the shim of a container is. */
export function placement({ bundle }: StartRequest): ShimPlacement | undefined {
  const { annotations = {} } = readSpec(bundle);
  const label = LABELS.find((name) => annotations[name] !== undefined);
  const group = label && annotations[label];
  return group ? { group } : undefined;
}

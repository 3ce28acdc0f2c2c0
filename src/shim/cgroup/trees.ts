import { join } from "node:path";

/** A mount of a cgroup tree, or of a part of one. */
export interface Tree {
  /** Where it is mounted. */
  readonly point: string;
  /** The cgroup that is seen there: `/` for a whole tree. */
  readonly top: string;
}

/** The mounts of each tree, in their order: of version 1 by the names of its controllers, of version 2 by the empty name. */
export type Trees = ReadonlyMap<string, readonly Tree[]>;

/** The trees that a file such as `/proc/self/mountinfo` lists. A tree may be mounted several times. */
export function treesIn(mountinfo: string): Trees {
  const trees = new Map<string, Tree[]>();
  const add = (name: string, tree: Tree) => {
    const mounts = trees.get(name);
    if (mounts === undefined) trees.set(name, [tree]);
    else mounts.push(tree);
  };
  for (const line of mountinfo.split("\n")) {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , top = "", point = ""] = before.split(" ").map(unescaped);
    const [type, , options = ""] = after.split(" ");
    if (type === "cgroup2") add("", { point, top });
    // Options of the mount itself, such as rw, name no controller; nothing asks for them.
    if (type === "cgroup") for (const option of options.split(",")) add(option, { point, top });
  }
  return trees;
}

/**
 * The mount in which a cgroup is seen, and its folder there. `path` is what `/proc/PID/cgroup` says, which starts at the top
 * of the whole tree. Others may have mounted a tree once more, anywhere, so the first mount that has the cgroup counts.
 */
export function folderIn(mounts: readonly Tree[], path: string): { tree: Tree; folder: string } | undefined {
  const [first] = mounts;
  if (first === undefined) return undefined;
  const tree = mounts.find(({ top }) => isBelow(top, path));
  if (tree === undefined) return { tree: first, folder: join(first.point, path) };
  return { tree, folder: join(tree.point, tree.top === "/" ? path : path.slice(tree.top.length)) };
}

/** The mount that shows most of a tree: a whole one, if there is one. */
export function largest(mounts: readonly Tree[]): Tree | undefined {
  return mounts.find(({ top }) => top === "/") ?? mounts[0];
}

const isBelow = (top: string, path: string) => top === "/" || path === top || path.startsWith(`${top}/`);

/** A field of mountinfo, in which spaces and the like are octal. */
const unescaped = (field: string) =>
  field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));

import { renameSync, rmSync, writeFileSync, type WriteFileOptions } from "node:fs";

/**
 * Writes a file. Throws the system's error with the file's path: Node's errors name it if it cannot be opened, but not if it
 * takes no bytes.
 */
export function writeFile(path: string, content: string | Uint8Array, options: WriteFileOptions = {}): void {
  try {
    writeFileSync(path, content, options);
  } catch (error) {
    const failure = error as NodeJS.ErrnoException;
    if (failure.code !== undefined && failure.path === undefined) {
      failure.path = path;
      failure.message += ` '${path}'`;
    }
    throw failure;
  }
}

/**
 * Writes a file atomically: nobody reads half of it, even if this process is killed. What is at the place where it is written
 * first goes: a link there would lead elsewhere. Others may not write to it, whatever the umask. If it fails, it leaves nothing
 * there. Throws as {@link writeFile} does.
 */
export function writeWhole(
  path: string,
  content: string | Uint8Array,
  { mode = 0o644 }: { readonly mode?: number } = {},
): void {
  const unfinished = `${path}.tmp`;
  rmSync(unfinished, { force: true });
  try {
    writeFile(unfinished, content, { mode, flag: "wx" });
    renameSync(unfinished, path);
  } catch (error) {
    // What is there then is another's.
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") remove(unfinished);
    throw error;
  }
}

/** Removes what a full disk has cut short, if the filesystem lets it. */
function remove(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // Why it could not be written says more.
  }
}

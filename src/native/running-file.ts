/**
 * The file that this code runs from: its path, or its `file:` URL in an ES module. Undefined if it was not read from a
 * file. A bundler may have put this code into any other file, and then `import.meta.url` may be empty, or the path of
 * the source on the machine that bundled it. So the running code itself is asked.
 */
export function ownFile(): string | undefined {
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = 1;
    Error.prepareStackTrace = (_, [caller]) => caller?.getFileName();
    const file = new Error("unused").stack as unknown;
    return typeof file === "string" && /^(?:file:\/\/)?\//.test(file) ? file : undefined;
  } catch {
    // Node was started with --frozen-intrinsics.
    return undefined;
  } finally {
    try {
      Object.assign(Error, { prepareStackTrace, stackTraceLimit });
    } catch {
      // As above: nothing was changed, so nothing needs restoring.
    }
  }
}

/**
 * The file that this code runs from: its path, or its `file:` URL in an ES module. A bundler may have made it a part of
 * another file, of any name and kind, and what it then leaves of `import.meta.url` differs: nothing, or the path that the
 * source had where the bundle was made. So the running code is asked. Undefined where it was not read from a file.
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
      // As above: nothing was changed.
    }
  }
}

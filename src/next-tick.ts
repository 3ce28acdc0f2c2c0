/**
 * Node's own `process.nextTick`, whatever a test framework puts in its place later. An import of `node:process` reads all
 * properties of `process`, `stdin` among them, which makes standard input non-blocking for every process that shares it.
 */
export const { nextTick } = process;

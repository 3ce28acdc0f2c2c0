// Says what the suites run on, and lets those that start a Node start this one: the kernel cannot run it by itself.
const node = process.env["ARM64_NODE"];
if (process.arch !== "arm64" || node === undefined) throw new Error(`this is ${process.arch}, not arm64`);
process.execPath = node;

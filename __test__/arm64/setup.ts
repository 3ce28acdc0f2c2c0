// Prints what the suites run on, and makes tests start Node through the emulator: the kernel cannot run it directly.
const node = process.env["ARM64_NODE"];
if (process.arch !== "arm64" || node === undefined) throw new Error(`this is ${process.arch}, not arm64`);
process.execPath = node;

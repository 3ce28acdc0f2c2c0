/* global given */
const { closeSync, openSync, readSync } = require("node:fs");
const { dirname } = require("node:path");
const { createRequire } = require("node:module");
const { Script, constants } = require("node:vm");
const { setEnvironmentData } = require("node:worker_threads");

// A descriptor that Node opens is not inherited by the processes that the shim starts.
const file = openSync(`/proc/self/fd/${given.file}`);
closeSync(given.file);
closeSync(given.stub);
Object.assign(process.env, given.environment);
for (const name of given.unset) delete process.env[name];
setEnvironmentData("containerd-shim-protos.addon", {
  file: `/proc/self/fd/${file}`,
  smallPages: given.smallPages,
  openFiles: given.openFiles,
});
process.argv[1] = given.program;

const read = ([at, length]) => {
  const bytes = Buffer.allocUnsafeSlow(length);
  for (let done = 0; done < length;) {
    const count = readSync(file, bytes, done, length - done, at + done);
    if (count === 0) throw new Error(`${given.path} ends too soon`);
    done += count;
  }
  return bytes;
};
const script = new Script(read(given.script).toString(), {
  filename: given.path,
  // Node of another version refuses it and compiles the script.
  cachedData: given.cache[1] > 0 ? read(given.cache) : undefined,
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
});
script.runInThisContext()(module.exports, createRequire(given.path), module, given.path, dirname(given.path));

/** `npm run bench` measures calls, `npm run bench -- codec` the codec; each says with --help what else it takes. */

const isCodec = process.argv[2] === "codec";
// What follows the name is for the bench itself.
if (isCodec) process.argv.splice(2, 1);
await(isCodec ? import("./codec.js") : import("./calls.js"));

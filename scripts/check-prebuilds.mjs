/** Checks the addons in npm/: the symbols and libraries that they need, their sizes, and their exports. */

import { checkAddons } from "./addon.mjs";
import { runMain } from "./toolchain.mjs";

await runMain(checkAddons);

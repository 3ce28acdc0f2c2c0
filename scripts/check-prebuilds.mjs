/** Checks the addons in npm/: the symbols and libraries they need, their sizes and what they export. */

import { checkAddons } from "./addon.mjs";
import { runMain } from "./toolchain.mjs";

await runMain(checkAddons);

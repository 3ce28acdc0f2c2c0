/** The version of this package, which the addon must have too. `npm version` keeps all places that name it the same. */
export const VERSION = "0.1.0";

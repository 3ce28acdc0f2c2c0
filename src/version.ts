/** The version of this package, which the addon must have too. `npm version` updates every place that names it. */
export const VERSION = "0.1.0";

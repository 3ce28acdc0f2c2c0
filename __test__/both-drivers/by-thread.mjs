/** The package with `thread` as its default driver, for the second run of these suites. */

import * as product from "../../dist/index.js";

export * from "../../dist/index.js";

/** @type {typeof product.connect} */
export const connect = (address, options) => product.connect(address, { driver: "thread", ...options });

/** @type {typeof product.createServer} */
export const createServer = (options) => product.createServer({ driver: "thread", ...options });

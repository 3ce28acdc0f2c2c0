import { checkedString, checkLimits, checkOptions, withDefaults } from "../options.js";

/** Options of {@link createTestRuntime}. */
export interface TestRuntimeOptions {
  /** The runtime's name. Default `test-runtime`. */
  readonly name?: string | undefined;
  /** The runtime's version. Default `1.0.0`. */
  readonly version?: string | undefined;
  /** The text of the plugins' configuration file. Empty by default. */
  readonly config?: string | undefined;
  /** Milliseconds that it waits for a plugin's registration. Default 5 000. */
  readonly registrationTimeoutMs?: number | undefined;
  /** Milliseconds that it waits for a plugin's answer before it disconnects the plugin and continues. Default 2 000. */
  readonly requestTimeoutMs?: number | undefined;
  /** How many pods and containers one part of a Synchronize call has. Default 1 000. */
  readonly partSize?: number | undefined;
}

const DEFAULTS = { registrationTimeoutMs: 5000, requestTimeoutMs: 2000, partSize: 1000 };

/** The options of a test runtime, with all defaults. */
export type TestSettings = typeof DEFAULTS & Readonly<Record<"name" | "version" | "config", string>>;

/** Checks the options of a test runtime. Throws a TypeError that names a wrong one. */
export function testSettingsOf(options: TestRuntimeOptions): TestSettings {
  checkOptions("createTestRuntime", options, [...Object.keys(DEFAULTS), "name", "version", "config"]);
  const { name = "test-runtime", version = "1.0.0", config = "", ...given } = options;
  const limits = withDefaults(DEFAULTS, given);
  checkLimits(limits);
  for (const [option, text] of Object.entries({ name, version, config })) checkedString(text, option);
  return { ...limits, name, version, config };
}

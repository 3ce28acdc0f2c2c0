import { rmSync } from "node:fs";
import { makeSocketFolder } from "../socket-folder.js";
import type { TestRuntimeOptions } from "./test-options.js";
import { TestRuntime } from "./test-runtime.js";

/**
 * Makes a runtime that drives plugins through pods and containers, for tests.
 *
 * ```ts
 * await using runtime = await createTestRuntime();
 * await runtime.start("injector", "10", handlers);
 * const pod = await runtime.runPod({ namespace: "production" });
 * const { container } = await runtime.createContainer(pod, { env: ["A=b"] });
 * expect(container.env).toContain("NODE_NAME=worker-1");
 * ```
 *
 * Rejects with a TypeError if an option is wrong.
 */
export async function createTestRuntime(options: TestRuntimeOptions = {}): Promise<TestRuntime> {
  const folder = makeSocketFolder("nri-");
  try {
    const runtime = new TestRuntime(options, folder);
    await runtime.listen();
    return runtime;
  } catch (error) {
    rmSync(folder, { recursive: true, force: true });
    throw error;
  }
}

import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.js";
import { type Handler, Node } from "./node.js";

/**
 * What cannot pass whatever the shim, and would wait long to fail: plugins of NRI that connect while pods are made, of
 * which containerd loses some in a race of its own.
 */
const LEFT_OUT = ["plugin synchronization"];
const LIMIT_MS = 15 * 60_000;

/** One spec of critest, and what became of it. */
export interface Spec {
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  /** Of a failure, the message and the end of what the spec has logged. */
  readonly message: string;
}

/** One spec in the report of Ginkgo, which critest is made with. */
interface Report {
  readonly ContainerHierarchyTexts: readonly string[] | null;
  readonly LeafNodeText: string;
  readonly LeafNodeType: string;
  readonly State: string;
  readonly Failure?: { readonly Message?: string };
  readonly CapturedGinkgoWriterOutput?: string;
}

/** Runs the specs of critest with one handler, each that fails a second time. Streaming is by SPDY, not by WebSocket. */
export async function critest(handler: Handler): Promise<Map<string, Spec>> {
  const specs = await runSpecs(handler, []);
  const failed = [...specs.values()].filter(({ state }) => state === "failed").map(({ name }) => name);
  if (failed.length === 0) return specs;
  const again = await runSpecs(handler, failed);
  for (const [name, spec] of again) {
    // Those that were not tried again are reported as skipped.
    if (failed.includes(name) && spec.state === "passed") specs.set(name, spec);
  }
  return specs;
}

/** How many specs have passed, failed and been skipped. */
export function counts(specs: ReadonlyMap<string, Spec>): string {
  const of = (state: Spec["state"]) => [...specs.values()].filter((spec) => spec.state === state).length;
  return `${of("passed")} of ${specs.size} specs passed, ${of("failed")} failed, ${of("skipped")} were skipped`;
}

async function runSpecs({ handler }: Handler, only: readonly string[]): Promise<Map<string, Spec>> {
  const endpoint = `unix://${Node.socket}`;
  const report = join(Node.root, `critest-${handler}.json`);
  rmSync(report, { force: true });
  const args = [
    `-runtime-endpoint=${endpoint}`,
    `-image-endpoint=${endpoint}`,
    `-runtime-handler=${handler}`,
    "-nri-socket=/run/nri/nri.sock",
    "-ginkgo.no-color",
    `-ginkgo.json-report=${report}`,
    ...LEFT_OUT.map((words) => `-ginkgo.skip=${words}`),
    ...only.map((name) => `-ginkgo.focus= ${name.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")}$`),
  ];
  const { code, stdout, stderr } = await run("critest", args, { timeoutMs: LIMIT_MS });
  let text: string;
  try {
    text = readFileSync(report, "utf8");
  } catch (error) {
    const output = (stdout + stderr).slice(-4_000);
    throw new Error(`critest ended with ${code} and without a report:\n${output}`, { cause: error });
  }
  const suites = JSON.parse(text) as { SpecReports: readonly Report[] }[];
  return new Map(
    suites
      .flatMap(({ SpecReports }) => SpecReports)
      .filter(({ LeafNodeType }) => LeafNodeType === "It")
      .map(specOf)
      .map((spec) => [spec.name, spec]),
  );
}

function specOf(report: Report): Spec {
  const name = [...(report.ContainerHierarchyTexts ?? []), report.LeafNodeText].join(" ");
  const state = report.State === "skipped" || report.State === "pending" ? "skipped" : "failed";
  const logged = report.CapturedGinkgoWriterOutput?.slice(-2_000) ?? "";
  const message = `${report.Failure?.Message?.slice(0, 2_000) ?? ""}\n${logged}`.trim();
  return { name, state: report.State === "passed" ? "passed" : state, message };
}

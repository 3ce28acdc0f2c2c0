import { readdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { packAny, type TtrpcError } from "containerd-shim-protos";
import { OptionsSchema } from "containerd-shim-protos/runc";
import { describe, expect, test } from "vitest";
import { runtimeInfo } from "../../examples/shim-runc/info.js";
import { FakeRunc } from "./fake-runc.js";

describe("an error of shim-runc", () => {
  test("names the file that a full disk does not take", async () => {
    await using runc = await FakeRunc.start();
    const { id, task, bundle } = runc;
    const full = (name: string) => symlinkSync("/dev/full", join(bundle, name));
    full("options.pb.tmp");
    await expect(runc.create()).rejects.toThrow(
      `ENOSPC: no space left on device, write '${bundle}/options.pb'`,
    );
    await using other = await FakeRunc.start();
    await other.create();
    await other.exec("one");
    symlinkSync("/dev/full", join(other.bundle, "one.process.json"));
    await expect(other.task.start({ id, execId: "one" })).rejects.toThrow(
      `ENOSPC: no space left on device, write '${other.bundle}/one.process.json'`,
    );
    await expect(task.state({ id })).rejects.toThrow(/not found/);
  });

  test("names the program that has failed without a word", async () => {
    await using runc = await FakeRunc.start("exit 7");
    await expect(runc.create()).rejects.toThrow(
      `OCI runtime create failed: ${runc.folder}/runc ended with status 7`,
    );
  });

  test("names a runtime that is not there, where its features are asked for", async () => {
    const options = packAny(OptionsSchema, { binaryName: "/no/runc" });
    await expect(runtimeInfo(options)).rejects.toThrow(/^cannot run \/no\/runc: .*ENOENT/);
  });

  test("is that of its own exec, whatever others say at the same time", async () => {
    const fails = [
      "[ $C = exec ] || FAILS=no",
      `[ "$FAILS" = no ] || { L=\${A#*--log }; echo '{"level":"error","msg":"no '$P'"}' >>\${L%% *}; echo >>$F/failed; }`,
      '[ "$FAILS" = no ] || { until [ $(wc -l <$F/failed) = 2 ]; do sleep 0.01; done; exit 1; }',
    ];
    await using runc = await FakeRunc.start(...fails);
    const { id, task, bundle } = runc;
    await runc.create();
    for (const execId of ["one", "two"]) await runc.exec(execId);
    const errors = ["one", "two"].map((execId) =>
      task.start({ id, execId }).catch((error: TtrpcError) => error.rawMessage),
    );
    expect(await Promise.all(errors)).toEqual(
      ["one", "two"].map((execId) => `OCI runtime exec failed: no ${bundle}/exec.${execId}.pid`),
    );
    expect(readdirSync(bundle).filter((name) => /one|two/.test(name))).toEqual([]);
  });
});

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const MOST_BYTES = 64 << 20;

/** Packs folders as an OCI image, a layer of each, in a file that `ctr image import` takes. */
export function makeImage(name: string, folders: readonly string[], file: string): void {
  const layout = `${file}.d`;
  mkdirSync(join(layout, "blobs", "sha256"), { recursive: true });
  const blob = (bytes: Buffer, mediaType: string) => {
    const hash = createHash("sha256").update(bytes).digest("hex");
    writeFileSync(join(layout, "blobs", "sha256", hash), bytes);
    return { mediaType, digest: `sha256:${hash}`, size: bytes.length };
  };
  const json = (value: unknown) => Buffer.from(JSON.stringify(value));
  const media = (kind: string) => `application/vnd.oci.image.${kind}`;
  const layers = folders.map((folder) =>
    blob(execFileSync("tar", ["-C", folder, "-c", "."], { maxBuffer: MOST_BYTES }), media("layer.v1.tar")),
  );
  const architecture = process.arch === "x64" ? "amd64" : process.arch;
  const rootfs = { type: "layers", diff_ids: layers.map(({ digest }) => digest) };
  const config = blob(json({ architecture, os: "linux", config: {}, rootfs }), media("config.v1+json"));
  const manifest = blob(
    json({ schemaVersion: 2, mediaType: media("manifest.v1+json"), config, layers }),
    media("manifest.v1+json"),
  );
  const annotations = { "io.containerd.image.name": name };
  writeFileSync(
    join(layout, "index.json"),
    json({ schemaVersion: 2, manifests: [{ ...manifest, annotations }] }),
  );
  writeFileSync(join(layout, "oci-layout"), json({ imageLayoutVersion: "1.0.0" }));
  execFileSync("tar", ["-C", layout, "-cf", file, "."]);
}

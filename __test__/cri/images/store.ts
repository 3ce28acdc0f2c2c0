import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";

const MANIFEST = "application/vnd.oci.image.manifest.v1+json";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const LAYER = "application/vnd.oci.image.layer.v1.tar";

export interface Blob {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** What a process of an image is started with; the names are those of an image's configuration. */
export interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly User?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** Images in memory: https://github.com/opencontainers/image-spec */
export class ImageStore {
  readonly blobs = new Map<string, Blob>();
  /** Digests of manifests by `path:tag`, without the registry. */
  readonly tags = new Map<string, string>();

  /** Makes a layer of what is in a folder, owned by root. */
  layer(folder: string): Descriptor {
    const flags = ["--sort=name", "--mtime=@0", "--numeric-owner", "--owner=0", "--group=0", "--format=gnu"];
    const args = [...flags, "-C", folder, "-cf", "-", "."];
    return this.#add(LAYER, execFileSync("tar", args, { maxBuffer: 1 << 30 }));
  }

  /** Makes an image of layers, and gives it names, such as `pause:3.10`. */
  image(names: readonly string[], layers: readonly Descriptor[], config: ImageConfig): void {
    const image = {
      created: "2020-01-01T00:00:00Z",
      os: "linux",
      architecture: { x64: "amd64" }[process.arch as string] ?? process.arch,
      config: { Env: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"], ...config },
      // A layer that is not compressed is its own content.
      rootfs: { type: "layers", diff_ids: layers.map(({ digest }) => digest) },
    };
    const manifest = { schemaVersion: 2, mediaType: MANIFEST, config: this.#addJson(CONFIG, image), layers };
    const { digest } = this.#addJson(MANIFEST, manifest);
    for (const name of names) this.tags.set(name, digest);
  }

  #addJson(mediaType: string, value: unknown): Descriptor {
    return this.#add(mediaType, Buffer.from(JSON.stringify(value)));
  }

  #add(mediaType: string, bytes: Buffer): Descriptor {
    const digest = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    this.blobs.set(digest, { mediaType, bytes });
    return { mediaType, digest, size: bytes.length };
  }
}

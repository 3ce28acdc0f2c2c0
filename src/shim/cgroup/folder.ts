import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";

/** What "max" stands for. */
const NO_LIMIT = 2n ** 64n - 1n;

/**
 * What says that the kernel has nothing to say. ENODEV: the cgroup was removed while its file was read. ENOTSUP: what the file
 * is for is turned off, as the pressure is on kernels that have it and were started without it.
 */
const NOTHING: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENODEV", "ENOTSUP"]);

/** A folder of a cgroup tree. What is not there reads as zero or nothing: it depends on the kernel. */
export class CgroupFolder {
  constructor(readonly path: string) {}

  text(name: string): string | undefined {
    try {
      return readFileSync(join(this.path, name), "utf8");
    } catch (error) {
      if (!NOTHING.has((error as NodeJS.ErrnoException).code)) throw error;
      return undefined;
    }
  }

  /** The names of the cgroups in it. */
  folders(): string[] {
    try {
      const entries = readdirSync(this.path, { withFileTypes: true });
      return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
    } catch (error) {
      if (!NOTHING.has((error as NodeJS.ErrnoException).code)) throw error;
      return [];
    }
  }

  number(name: string): bigint {
    return toNumber(this.text(name)?.trim() ?? "");
  }

  /** The lines of a file, each as its words. */
  lines(name: string): string[][] {
    return linesOf(this.text(name) ?? "");
  }

  /** A file with a name and a number in each line. Undefined if there is none. */
  pairs(name: string): Record<string, bigint> | undefined {
    const text = this.text(name);
    if (text === undefined) return undefined;
    return Object.fromEntries(linesOf(text).map(([key = "", value = ""]) => [key, toNumber(value)]));
  }

  /** A file with a device and named numbers in each line: `mlx4_0 hca_handle=2 hca_object=max`. */
  devices(name: string): { device: string; values: Record<string, string> }[] {
    return this.lines(name).map(([device = "", ...words]) => ({
      device,
      values: Object.fromEntries(words.map((word) => word.split("=", 2) as [string, string])),
    }));
  }

  /** The handles and objects of RDMA devices. */
  rdma(name: string) {
    return this.devices(name).map(({ device, values }) => ({
      device,
      hcaHandles: toCount(values["hca_handle"]),
      hcaObjects: toCount(values["hca_object"]),
    }));
  }

  /** The sizes of huge pages that there are files for: `2MB` for `hugetlb.2MB.…`. */
  hugePageSizes(): string[] {
    const names = readdirSync(this.path).map((name) => /^hugetlb\.([^.]+)\.[^.]+$/.exec(name)?.[1]);
    return [...new Set(names)].filter((size) => size !== undefined);
  }
}

/** Lines as their words. */
function linesOf(text: string): string[][] {
  const lines = text.split("\n").filter(Boolean);
  return lines.map((line) => line.split(" "));
}

/** A number as the kernel writes it. */
export function toNumber(text: string): bigint {
  if (text === "max") return NO_LIMIT;
  return /^\d+$/.test(text) ? BigInt(text) : 0n;
}

/** The fields of a message that are numbers. */
type Numbers<Shape> = { [Name in keyof Shape as Shape[Name] extends bigint ? Name : never]: bigint };

/** What the kernel says for the fields of a message that are numbers. Their names are its names, but for a few. */
export function fieldsOf<Desc extends DescMessage>(
  { fields }: Desc,
  values: Readonly<Record<string, bigint>>,
  nameOf: (field: string) => string = (name) => name,
): Numbers<MessageShape<Desc>> {
  const numbers = fields.filter(({ fieldKind }) => fieldKind === "scalar");
  return Object.fromEntries(
    numbers.map(({ localName, name }) => [localName, values[nameOf(name)] ?? 0n]),
  ) as Numbers<MessageShape<Desc>>;
}

const toCount = (text = "0") => (text === "max" ? 2 ** 32 - 1 : Number(text));

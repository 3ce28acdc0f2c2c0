import { shown } from "../value-kinds.js";

/** An integer, as a number or, from 2⁵³ on, as a bigint. */
export type Integer = number | bigint;

/** The least and the most value, and values outside that mean something of their own, such as no limit. */
export type Range = readonly [least: bigint, most: bigint, ...others: bigint[]];

const INT64_MAX = 2n ** 63n - 1n;
/** The kernel counts nanoseconds in 64 bits. */
const MOST_MICROSECONDS = (2n ** 64n - 1n) / 1000n;

const UINT32: Range = [0n, 2n ** 32n - 1n];
const UINT64: Range = [0n, 2n ** 64n - 1n];
/** -1 is no limit. */
const MEMORY_LIMIT: Range = [-1n, INT64_MAX];
/** The kernel has 12 bits for a major number and 20 for a minor one. */
const MOST_MAJOR = 4095n;
const MOST_MINOR = 1_048_575n;
/** The last one means none. */
const USER_OR_GROUP: Range = [0n, UINT32[1] - 1n];
const ERRNO: Range = [0n, 4095n];

/**
 * What the integers of an adjustment or update may be, by message and field: a type of the wire, or the range that the
 * kernel or the OCI runtime specification gives to the field. The runtime would report a value outside only after it has
 * asked all plugins, and without a name. Plain objects and messages are checked by this one table.
 */
export const RANGES = {
  "Hook.timeout": [1n, INT64_MAX],
  "HugepageLimit.limit": UINT64,
  "LinuxCPU.period": [1000n, 1_000_000n, 0n],
  "LinuxCPU.quota": [1000n, 2n ** 44n - 1n, 0n, -1n],
  "LinuxCPU.realtimePeriod": [0n, MOST_MICROSECONDS],
  "LinuxCPU.realtimeRuntime": [-1n, MOST_MICROSECONDS],
  "LinuxCPU.shares": [2n, 262_144n, 0n],
  "LinuxDevice.fileMode": [0n, 0o177_777n], // With the type of a file, as stat gives it.
  "LinuxDevice.gid": USER_OR_GROUP,
  "LinuxDevice.major": [0n, MOST_MAJOR],
  "LinuxDevice.minor": [0n, MOST_MINOR],
  "LinuxDevice.uid": USER_OR_GROUP,
  "LinuxDeviceCgroup.major": [-1n, MOST_MAJOR], // -1 is any device, here and in the next one.
  "LinuxDeviceCgroup.minor": [-1n, MOST_MINOR],
  "LinuxContainerAdjustment.oomScoreAdj": [-1000n, 1000n],
  "LinuxIOPriority.class": [0n, 3n],
  "LinuxIOPriority.priority": [0n, 7n],
  "LinuxMemory.kernel": MEMORY_LIMIT,
  "LinuxMemory.kernelTcp": MEMORY_LIMIT,
  "LinuxMemory.limit": MEMORY_LIMIT,
  "LinuxMemory.reservation": MEMORY_LIMIT,
  "LinuxMemory.swap": MEMORY_LIMIT,
  "LinuxMemory.swappiness": [0n, 100n],
  "LinuxMemoryPolicy.flags": [0n, 2n],
  "LinuxMemoryPolicy.mode": [0n, 6n],
  "LinuxPids.limit": [-1n, 4_194_304n],
  "LinuxScheduler.deadline": UINT64,
  "LinuxScheduler.flags": [0n, 6n],
  "LinuxScheduler.nice": [-20n, 19n],
  "LinuxScheduler.period": UINT64,
  "LinuxScheduler.policy": [0n, 7n],
  "LinuxScheduler.priority": [0n, 99n],
  "LinuxScheduler.runtime": UINT64,
  "LinuxSeccomp.defaultErrno": ERRNO,
  "LinuxSeccompArg.index": [0n, 5n],
  "LinuxSeccompArg.value": UINT64,
  "LinuxSeccompArg.valueTwo": UINT64,
  "LinuxSyscall.errnoRet": ERRNO,
  "POSIXRlimit.hard": UINT64,
  "POSIXRlimit.soft": UINT64,
} as const satisfies Readonly<Record<string, Range>>;

/** A field that has a range, as in `LinuxCPU.shares`. */
export type RangedField = keyof typeof RANGES;

/** Checks an integer. Throws a TypeError that names it and says its range. */
export function checkedInteger(value: unknown, name: string, range: RangedField | Range): bigint {
  const [least, most, ...others]: Range = typeof range === "string" ? RANGES[range] : range;
  if (typeof value === "bigint" || Number.isSafeInteger(value)) {
    const integer = BigInt(value as Integer);
    if ((integer >= least && integer <= most) || others.includes(integer)) return integer;
  }
  const alternatives = others.map((other) => ` or ${other}`).join("");
  throw new TypeError(
    `${name} must be an integer from ${least} to ${most}${alternatives}, not ${shown(value)}`,
  );
}

/** Checks an integer of at most 32 bits, as {@link checkedInteger} does. */
export function checkedNumber(value: unknown, name: string, range: RangedField): number {
  return Number(checkedInteger(value, name, range));
}

/** Checks the limits of an rlimit, of which the soft one must not exceed the hard one. */
export function checkedLimits(soft: unknown, hard: unknown, at: string): { soft: bigint; hard: bigint } {
  const most = checkedInteger(hard, `${at}.hard`, "POSIXRlimit.hard");
  return { soft: checkedInteger(soft, `${at}.soft`, [0n, most]), hard: most };
}

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Hook,
  HookSchema,
  type LinuxDevice,
  LinuxDeviceSchema,
  type LinuxRdt,
  LinuxRdtSchema,
  type LinuxSeccompSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { DeviceSpec, HookSpec } from "./adjustment-spec.js";
import { checkedInteger, checkedNumber, type Integer, type RangedField } from "./ranges.js";
import { checkedKey, checkedList, checkedObject, checkedStrings } from "./values.js";
import { checkedBoolean, checkedString } from "../options.js";

/** Control of cache and memory bandwidth. */
export interface RdtSpec {
  /** The name of the class of service. */
  readonly closId?: string | undefined;
  /** Lines of the kernel's schemata file. */
  readonly schemata?: readonly string[] | undefined;
  /** Whether usage is monitored. */
  readonly enableMonitoring?: boolean | undefined;
}

/** A seccomp policy, as in the OCI runtime specification. */
export interface SeccompSpec {
  /** What happens to system calls that no rule names, such as `SCMP_ACT_ERRNO`. */
  readonly defaultAction: string;
  /** The errno of that action, from 0 to 4095. Runtimes, as of NRI 0.12, ignore it. */
  readonly defaultErrno?: number | undefined;
  /** Architectures, such as `SCMP_ARCH_X86_64`. */
  readonly architectures?: readonly string[] | undefined;
  /** Flags, such as `SECCOMP_FILTER_FLAG_LOG`. */
  readonly flags?: readonly string[] | undefined;
  /** The socket of an agent that is notified. */
  readonly listenerPath?: string | undefined;
  /** Data that the agent gets with each notification. */
  readonly listenerMetadata?: string | undefined;
  /** The rules. */
  readonly syscalls?: readonly SeccompRuleSpec[] | undefined;
}

/** A rule of a {@link SeccompSpec}. */
export interface SeccompRuleSpec {
  /** The system calls. */
  readonly names: readonly string[];
  /** What happens to them, such as `SCMP_ACT_ALLOW`. */
  readonly action: string;
  /** The errno of that action, from 0 to 4095. */
  readonly errnoRet?: number | undefined;
  /** Conditions on their arguments. */
  readonly args?: readonly SeccompConditionSpec[] | undefined;
}

/** A condition on an argument of a system call. */
export interface SeccompConditionSpec {
  /** Which argument, from 0 to 5. */
  readonly index: number;
  /** The value that it is compared with. */
  readonly value: Integer;
  /** The second value, for operators that take two. */
  readonly valueTwo?: Integer | undefined;
  /** The comparison, such as `SCMP_CMP_EQ`. */
  readonly op: string;
}

/** Checks a device and makes its message. */
export function deviceOf(device: DeviceSpec, at: string): LinuxDevice {
  const names = ["path", "type", "major", "minor", "fileMode", "uid", "gid"];
  const { path, type, major, minor, fileMode, uid, gid } = checkedObject(device, at, names);
  return create(LinuxDeviceSchema, {
    path: checkedKey(path, `${at}.path`),
    type: checkedString(type, `${at}.type`),
    major: checkedInteger(major, `${at}.major`, "LinuxDevice.major"),
    minor: checkedInteger(minor, `${at}.minor`, "LinuxDevice.minor"),
    fileMode: optional(fileMode, `${at}.fileMode`, "LinuxDevice.fileMode"),
    uid: optional(uid, `${at}.uid`, "LinuxDevice.uid"),
    gid: optional(gid, `${at}.gid`, "LinuxDevice.gid"),
  });
}

/** Checks a hook and makes its message. */
export function hookOf(hook: HookSpec, at: string): Hook {
  const { path, args = [], env = [], timeout } = checkedObject(hook, at, ["path", "args", "env", "timeout"]);
  return create(HookSchema, {
    path: checkedString(path, `${at}.path`),
    args: checkedStrings(args, `${at}.args`),
    env: checkedStrings(env, `${at}.env`),
    timeout:
      timeout === undefined ? undefined : { value: checkedInteger(timeout, `${at}.timeout`, "Hook.timeout") },
  });
}

/** Checks a control of cache and memory bandwidth and makes its message. */
export function rdtOf(rdt: RdtSpec, at: string): LinuxRdt {
  const names = ["closId", "schemata", "enableMonitoring"];
  const { closId, schemata, enableMonitoring } = checkedObject(rdt, at, names);
  return create(LinuxRdtSchema, {
    closId: closId === undefined ? undefined : { value: checkedString(closId, `${at}.closId`) },
    schemata: schemata === undefined ? undefined : { value: checkedStrings(schemata, `${at}.schemata`) },
    enableMonitoring:
      enableMonitoring === undefined
        ? undefined
        : { value: checkedBoolean(enableMonitoring, `${at}.enableMonitoring`) },
  });
}

function optional(value: unknown, name: string, range: RangedField): { value: number } | undefined {
  return value === undefined ? undefined : { value: checkedNumber(value, name, range) };
}

const SECCOMP_NAMES = [
  "defaultAction",
  "defaultErrno",
  "architectures",
  "flags",
  "listenerPath",
  "listenerMetadata",
  "syscalls",
];
const RULE_NAMES = ["names", "action", "errnoRet", "args"];
const CONDITION_NAMES = ["index", "value", "valueTwo", "op"];

/** Checks a seccomp policy and makes what its message is made from. */
export function seccompOf(policy: SeccompSpec, at: string): MessageInitShape<typeof LinuxSeccompSchema> {
  const {
    defaultAction,
    defaultErrno,
    architectures = [],
    flags = [],
    listenerPath = "",
    listenerMetadata = "",
    syscalls = [],
  } = checkedObject(policy, at, SECCOMP_NAMES);
  return {
    defaultAction: checkedString(defaultAction, `${at}.defaultAction`),
    defaultErrno: optional(defaultErrno, `${at}.defaultErrno`, "LinuxSeccomp.defaultErrno"),
    architectures: checkedStrings(architectures, `${at}.architectures`),
    flags: checkedStrings(flags, `${at}.flags`),
    listenerPath: checkedString(listenerPath, `${at}.listenerPath`),
    listenerMetadata: checkedString(listenerMetadata, `${at}.listenerMetadata`),
    syscalls: checkedList(syscalls, `${at}.syscalls`).map((rule, index) =>
      ruleOf(rule, `${at}.syscalls[${index}]`),
    ),
  };
}

function ruleOf(rule: unknown, at: string) {
  const { names, action, errnoRet, args = [] } = checkedObject(rule, at, RULE_NAMES);
  return {
    names: checkedStrings(names, `${at}.names`),
    action: checkedString(action, `${at}.action`),
    errnoRet: optional(errnoRet, `${at}.errnoRet`, "LinuxSyscall.errnoRet"),
    args: checkedList(args, `${at}.args`).map((arg, index) => conditionOf(arg, `${at}.args[${index}]`)),
  };
}

function conditionOf(condition: unknown, at: string) {
  const { index, value, valueTwo = 0, op } = checkedObject(condition, at, CONDITION_NAMES);
  return {
    index: checkedNumber(index, `${at}.index`, "LinuxSeccompArg.index"),
    value: checkedInteger(value, `${at}.value`, "LinuxSeccompArg.value"),
    valueTwo: checkedInteger(valueTwo, `${at}.valueTwo`, "LinuxSeccompArg.valueTwo"),
    op: checkedString(op, `${at}.op`),
  };
}

import { createContextKey, createContextValues, type ContextKeyOptions } from "containerd-shim-protos";
import { subscribeEvents, type SubscribeOptions } from "containerd-shim-protos/events";
import { registry } from "containerd-shim-protos/registry";
import type { PublicFunction } from "./functions.js";
import { address, argument, left, limit, type Options, optionsOf, signal } from "./options.js";

const contextKeyOptions: Options<ContextKeyOptions> = {
  description: argument("user", /description/, (value) => left(value) || typeof value === "string"),
};
const filters = (named: RegExp, right: string) => argument([right], named, left);
const subscribeOptions: Options<SubscribeOptions> = {
  topics: filters(/topics/, "/tasks/"),
  namespaces: filters(/namespaces/, "default"),
  filters: filters(/filters/, "topic==a"),
  registry: argument(registry, /registry/, left),
  signal,
  onGap: argument(undefined, /onGap/, (value) => left(value) || typeof value === "function"),
  maxQueuedEvents: limit(/maxQueuedEvents/),
  maxQueuedBytes: limit(/maxQueuedBytes/),
  whenFull: argument("fail", /whenFull/, left),
};
const key = argument(() => createContextKey(1), /key/);
const anything = argument(1, /value/, () => true);

/** Values of calls, and subscriptions to events. */
export const CONTEXT_FUNCTIONS: readonly PublicFunction[] = [
  {
    name: "createContextKey",
    optionsType: "ContextKeyOptions",
    call: (_, [value, options]) => createContextKey(value, options as never),
    args: [anything, optionsOf("createContextKey")],
    options: { at: 1, of: contextKeyOptions },
  },
  ...(["get", "set", "delete"] as const).map((method): PublicFunction => ({
    name: `ContextValues.${method}`,
    call: (_, [given]) => createContextValues()[method](given as never, 1 as never),
    args: [key],
  })),
  {
    name: "subscribeEvents",
    optionsType: "SubscribeOptions",
    call: (_, [to, options]) => subscribeEvents(to as never, options as never).close(),
    args: [address(/address/), optionsOf("subscribeEvents")],
    options: { at: 1, of: subscribeOptions },
  },
  {
    name: "EventSubscription.batches",
    call: ({ subscription }, [options]) => {
      subscription.batches(options as never);
    },
    args: [optionsOf("batches")],
    options: { at: 0, of: { maxEvents: limit(/maxEvents/) } },
  },
];

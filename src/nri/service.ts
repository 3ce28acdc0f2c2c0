import { create, type DescMessage, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { listenToAbort, unlistenToAbort } from "../abort.js";
import { Code } from "../code.js";
import { encode } from "../codec/codec.js";
import { textOf, TtrpcError } from "../error.js";
import { checkResponse } from "../native/encoded-size.js";
import {
  type ConfigureRequest,
  type ContainerAdjustment,
  ContainerSchema,
  type ContainerUpdate,
  CreateContainerResponseSchema,
  type Plugin,
  PodSandboxSchema,
  StopContainerResponseSchema,
  type SynchronizeRequest,
  SynchronizeResponseSchema,
  UpdateContainerResponseSchema,
} from "../protos/generated/nri/pkg/api/v1alpha1/nri_pb.js";
import type { HandlerContext } from "../server/context.js";
import type { ServiceImpl } from "../server/service.js";
import type { PluginContext, RuntimeInfo } from "./context.js";
import {
  checkedEvents,
  type ContainerEventName,
  isContainerEvent,
  isPodEvent,
  maskOf,
  nameOf,
  type PodEventName,
} from "./events.js";
import type { ContainerEvent, PluginHandlers, PodEvent, Updates } from "./handlers.js";
import { HandlerCalls, type Handling, type Subject, TIMEOUTS } from "./handler-calls.js";
import { checkedCreation, checkedReason, checkedUpdate, checkedUpdates } from "./results.js";
import { divided, Gatherer } from "./synchronization.js";
import { fieldsLostOn, harmless, ignoresPolicy, isKnownTo } from "./versions.js";

/** What the service asks of the connection that it serves. */
export interface Session extends Handling {
  /** The runtime has configured the plugin, or the plugin has refused. */
  configured(runtime: RuntimeInfo, error?: TtrpcError): void;
  /** The runtime has not synchronized the plugin, which it must not stay connected to. */
  unsynchronized(error: TtrpcError): void;
  /** Sends updates that did not fit a reply. */
  updateLater(updates: Updates): void;
}

type Use<Name extends keyof PluginHandlers> = (
  handler: NonNullable<PluginHandlers[Name]>,
  context: PluginContext,
) => ReturnType<NonNullable<PluginHandlers[Name]>>;

const podEvent = ({ pod = create(PodSandboxSchema) }: Pick<Subject, "pod">): PodEvent => ({ pod });
const containerEvent = ({ pod, container = create(ContainerSchema) }: Subject): ContainerEvent => ({
  ...podEvent({ pod }),
  container,
});

/**
 * Makes the reply of what a handler returned. One that fits no message would fail later: the runtime would not learn whose it
 * was, and the plugin's log would not have it.
 */
function fitting<Desc extends DescMessage>(desc: Desc, read: (returned: unknown) => MessageInitShape<Desc>) {
  return (returned: unknown): MessageShape<Desc> => {
    const reply = create(desc, read(returned));
    checkResponse(encode(desc, reply));
    return reply;
  };
}

/** Makes the service that a runtime calls from a plugin's handlers. An absent handler answers with the empty reply. */
export function pluginService(session: Session): ServiceImpl<typeof Plugin> {
  const { handlers, settings } = session;
  const gatherer = new Gatherer();
  const calls = new HandlerCalls(session);

  const warned = new Set<string>();
  const warnOfLost = (adjust: ContainerAdjustment) => {
    const { runtime } = calls;
    for (const field of fieldsLostOn(runtime, adjust)) {
      if (warned.has(field)) continue;
      warned.add(field);
      const text = `${runtime.name} ${runtime.version} does not support ${field} of adjustments, so it has no effect`;
      settings.log.warn(`${session.plugin}: ${text}`);
    }
  };

  const onPod = (name: PodEventName) => async (request: Subject, call: HandlerContext) => {
    await calls.run(name, call, request, (handler, context) => handler(podEvent(request), context));
    return {};
  };
  const onContainer = (name: ContainerEventName) => async (request: Subject, call: HandlerContext) => {
    await calls.run(name, call, request, (handler, context) => handler(containerEvent(request), context));
    return {};
  };

  return {
    async configure(request, call) {
      const runtime = runtimeOf(request, call);
      calls.runtime = runtime;
      let events = settings.events;
      try {
        const { config } = request;
        const chosen = await calls.run(
          "configure",
          call,
          {},
          (handler, context) => handler({ config, events: settings.events }, context),
          (names) => (names === undefined ? undefined : checkedEvents(names, settings.events, "the events")),
        );
        if (chosen !== undefined) events = chosen;
      } catch (error) {
        session.configured(runtime, TtrpcError.from(error));
        throw error;
      }
      const unknown = events.filter((event) => !isKnownTo(runtime, event));
      if (unknown.length > 0) {
        const text = `${runtime.name} ${runtime.version} does not know ${unknown.join(", ")} and never calls these handlers`;
        settings.log.warn(`${session.plugin}: ${text}`);
      }
      const { failRequest, keepConnected } = settings.failurePolicy ?? {};
      if ((failRequest || keepConnected) && ignoresPolicy(runtime))
        settings.log.warn(
          `${session.plugin}: ${runtime.name} ${runtime.version} does not know the failure policy and ignores it`,
        );
      session.configured(runtime);
      const known = events.filter((event) => !unknown.includes(event));
      return { events: maskOf(known), failurePolicy: settings.failurePolicy };
    },
    async synchronize(request: SynchronizeRequest, call) {
      if (handlers.synchronize === undefined) return { more: request.more };
      const late = {
        aborted({ reason }: AbortSignal) {
          if (TtrpcError.from(reason).code !== Code.DeadlineExceeded) return;
          const text = `synchronize did not end within ${Math.ceil(call.timeoutMs ?? 0)} ms`;
          session.unsynchronized(new TtrpcError(text, Code.DeadlineExceeded));
        },
      };
      listenToAbort(call.signal, late);
      try {
        const inventory = gatherer.add(request);
        if (inventory === undefined) return { more: true };
        let rest: ContainerUpdate[] = [];
        const read = fitting(SynchronizeResponseSchema, (returned) => {
          const [first = [], ...others] = divided(checkedUpdates(returned));
          rest = others.flat();
          return { update: first };
        });
        const use: Use<"synchronize"> = (handler, context) => handler(inventory, context);
        const reply = (await calls.run("synchronize", call, {}, use, read)) ?? {};
        if (rest.length > 0) session.updateLater(rest);
        return reply;
      } catch (error) {
        const { code } = TtrpcError.from(error);
        session.unsynchronized(
          new TtrpcError(`synchronize failed: ${textOf(error)}`, code, { cause: error }),
        );
        throw error;
      } finally {
        unlistenToAbort(call.signal, late);
      }
    },
    async shutdown(_request, call) {
      await calls.run("shutdown", call, {}, (handler, context) => handler(context));
      return {};
    },
    runPodSandbox: onPod("runPodSandbox"),
    async updatePodSandbox(request, call) {
      const { overheadLinuxResources: overhead, linuxResources: resources } = request;
      const event = { ...podEvent(request), overhead, resources };
      await calls.run("updatePodSandbox", call, request, (handler, context) => handler(event, context));
      return {};
    },
    postUpdatePodSandbox: onPod("postUpdatePodSandbox"),
    stopPodSandbox: onPod("stopPodSandbox"),
    removePodSandbox: onPod("removePodSandbox"),
    async createContainer(request, call) {
      const event = containerEvent(request);
      const use: Use<"createContainer"> = (handler, context) => handler(event, context);
      const read = fitting(CreateContainerResponseSchema, checkedCreation);
      const reply = await calls.run("createContainer", call, request, use, read);
      if (reply?.adjust === undefined) return reply ?? {};
      warnOfLost(reply.adjust);
      return { ...reply, adjust: harmless(calls.runtime, reply.adjust) };
    },
    postCreateContainer: onContainer("postCreateContainer"),
    startContainer: onContainer("startContainer"),
    postStartContainer: onContainer("postStartContainer"),
    async updateContainer(request, call) {
      const event = { ...containerEvent(request), resources: request.linuxResources };
      const use: Use<"updateContainer"> = (handler, context) => handler(event, context);
      const read = fitting(UpdateContainerResponseSchema, checkedUpdate);
      return (await calls.run("updateContainer", call, request, use, read)) ?? {};
    },
    postUpdateContainer: onContainer("postUpdateContainer"),
    async stopContainer(request, call) {
      const event = containerEvent(request);
      const use: Use<"stopContainer"> = (handler, context) => handler(event, context);
      const read = fitting(StopContainerResponseSchema, (returned) => ({ update: checkedUpdates(returned) }));
      return (await calls.run("stopContainer", call, request, use, read)) ?? {};
    },
    removeContainer: onContainer("removeContainer"),
    async stateChange(request, call) {
      const name = nameOf(request.event);
      if (name !== undefined && isPodEvent(name)) await onPod(name)(request, call);
      else if (name !== undefined && isContainerEvent(name)) await onContainer(name)(request, call);
      return {};
    },
    async validateContainerAdjustment(request, call) {
      const { adjust, update, owners, plugins } = request;
      const event = { ...containerEvent(request), adjust, update, owners, plugins };
      try {
        const use: Use<"validateContainerAdjustment"> = (handler, context) => handler(event, context);
        return (await calls.run("validateContainerAdjustment", call, request, use, checkedReason)) ?? {};
      } catch (error) {
        return { reject: true, reason: textOf(error) };
      }
    },
  };
}

function runtimeOf(request: ConfigureRequest, { timeoutMs = 0 }: HandlerContext): RuntimeInfo {
  const { runtimeName: name, runtimeVersion: version, NRIVersion: nriVersion } = request;
  // NRI before 0.8 does not say how long it waits, but waits for this answer as long as for any other.
  const waitsMs = Number(request.requestTimeout) || Math.ceil(timeoutMs);
  return {
    name,
    version,
    nriVersion,
    registrationTimeoutMs: Number(request.registrationTimeout) || TIMEOUTS.registrationTimeoutMs,
    requestTimeoutMs: waitsMs || TIMEOUTS.requestTimeoutMs,
  };
}

import type { DescService } from "@bufbuild/protobuf";
import { Code } from "../code.js";
import { TtrpcError } from "../error.js";
import type { HandlerContext } from "../server/context.js";
import { isError, isInstance } from "../value-kinds.js";
import type { Handlers } from "./handlers.js";
import type { ShimLog } from "./log.js";

/**
 * Has the log say what handlers throw by mistake, with the stack: containerd gets no more than the message, and nothing if it
 * has given the call up. What a handler throws as a TtrpcError is an answer.
 */
export function logFailures(handlers: Handlers, { methods }: DescService, log: ShimLog): void {
  for (const { name, localName } of methods) {
    const handler = handlers[localName];
    // What is no function stays for the server to refuse.
    if (typeof handler !== "function") continue;
    handlers[localName] = async (request, context) => {
      try {
        return await handler(request, context);
      } catch (error) {
        if (!isAnswer(error) && !isGivenUp(error, context as HandlerContext))
          log.error(`the handler of ${name} failed`, { error });
        throw error;
      }
    };
  }
}

/** Whether it has a code that somebody chose. */
const isAnswer = (error: unknown) =>
  isInstance(error, TtrpcError) || TtrpcError.from(error).code !== Code.Unknown;

/** Whether it is the error with which Node's own functions end when a call is given up whose signal they were given. */
const isGivenUp = (error: unknown, { signal }: HandlerContext) =>
  signal.aborted && isError(error) && error.name === "AbortError";

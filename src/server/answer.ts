import { encoded } from "../codec/payload.js";
import { checkResponse } from "../native/encoded-size.js";
import { countedBy, type HandlerContext } from "./context.js";
import type { ServedMethod } from "./service.js";

/**
 * Runs a handler with one response for interceptors. Rejects if the caller does not get the response, so that they
 * never take for a success what is none: if it is wrong or too large, or if nobody waits for it any more. It is encoded once more
 * when it is sent, because interceptors may change it.
 */
export async function answer(
  { handle, encode }: ServedMethod,
  request: unknown,
  context: HandlerContext,
): Promise<unknown> {
  const ended = countedBy(context);
  let response: unknown;
  try {
    response = await handle(request, context);
  } catch (error) {
    throw context.abortReason ?? error;
  } finally {
    ended();
  }
  if (context.abortReason !== undefined) throw context.abortReason;
  checkResponse(encoded(encode(response)));
  return response;
}

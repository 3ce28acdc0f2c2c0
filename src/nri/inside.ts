import { AsyncLocalStorage } from "node:async_hooks";

/** A handler under way. */
interface Running {
  readonly name: string;
  isOver: boolean;
}

const running = new AsyncLocalStorage<Running>();

/** Runs a handler so that {@link currentHandler} names it to the code it calls. */
export async function insideHandler<T>(name: string, handler: () => T): Promise<Awaited<T>> {
  const current: Running = { name, isOver: false };
  try {
    return await running.run(current, handler);
  } finally {
    current.isOver = true;
  }
}

/** The handler that this code is part of; undefined if there is none, or it has answered. */
export function currentHandler(): string | undefined {
  const current = running.getStore();
  return current === undefined || current.isOver ? undefined : current.name;
}

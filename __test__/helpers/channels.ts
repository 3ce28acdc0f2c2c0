import { channel } from "node:diagnostics_channel";

/** Listens to channels until it is disposed, and keeps their messages in order. */
export function listen<Message>(...names: string[]): Disposable & { readonly seen: [string, Message][] } {
  const seen: [string, Message][] = [];
  const listeners = names.map((name) => {
    const listener = (message: unknown) => seen.push([name, message as Message]);
    channel(name).subscribe(listener);
    return () => channel(name).unsubscribe(listener);
  });
  return {
    seen,
    [Symbol.dispose]() {
      for (const stop of listeners) stop();
    },
  };
}

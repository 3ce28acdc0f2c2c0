/**
 * Where all copies of this package find what to do when the process exits. Each copy would add a listener, and Node warns of
 * the eleventh: a test runner, or a server that reloads its program, may load the package again and again.
 */
const ACTIONS = Symbol.for("containerd-shim-protos.exits");
const shared = process as NodeJS.Process & { readonly [ACTIONS]?: Set<() => void> };

/** Has an action done when the process exits. It must not throw. */
export function atExit(action: () => void): void {
  (shared[ACTIONS] ?? newActions()).add(action);
}

function newActions(): Set<() => void> {
  const actions = new Set<() => void>();
  // A process that was frozen keeps none, and the copies share nothing.
  Reflect.set(process, ACTIONS, actions);
  process.once("exit", () => {
    for (const each of actions) each();
  });
  return actions;
}

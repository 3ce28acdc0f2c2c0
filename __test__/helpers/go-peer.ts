import { describe, inject } from "vitest";

/** The path of the Go peer; null where it could not be built. */
export const goPeer = inject("goPeer");

/** `describe` for what needs the Go peer: skipped, and saying so, where there is no go. */
export function describeWithGo(name: string, suite: () => void): void {
  const note = goPeer === null ? " (skipped: needs go)" : "";
  describe.skipIf(goPeer === null)(`${name}${note}`, () => {
    suite();
  });
}

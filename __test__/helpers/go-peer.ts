import { describe, inject } from "vitest";

/** The path of the Go peer; null if it could not be built. */
export const goPeer = inject("goPeer");

/** `describe` for a suite that needs the Go peer. Without Go it is skipped and says so. */
export function describeWithGo(name: string, suite: () => void): void {
  const note = goPeer === null ? " (skipped: needs go)" : "";
  describe.skipIf(goPeer === null)(`${name}${note}`, () => {
    suite();
  });
}

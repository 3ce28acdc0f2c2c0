import { afterAll, beforeAll, describe, inject } from "vitest";
import { ParityPeer } from "./peer.js";

/** `describe` with the peer in Rust, which lives as long as the suite. Without cargo it is skipped and says so. */
export function describeWithRust(name: string, suite: (peer: () => ParityPeer) => void): void {
  const binary = inject("parityPeer");
  describe.skipIf(binary === null)(`${name}${binary === null ? " (skipped: needs cargo)" : ""}`, () => {
    let peer: ParityPeer;

    beforeAll(() => {
      peer = new ParityPeer(binary ?? "");
    });

    afterAll(() => {
      peer?.[Symbol.dispose]();
    });

    suite(() => peer);
  });
}

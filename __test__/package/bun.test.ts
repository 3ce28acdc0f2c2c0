import { expect, it } from "vitest";
import { Script } from "../helpers/script.js";
import { temporaryAddress } from "../helpers/temp.js";

/** Bun itself runs in the tests of the packages; here Node takes its name. */
it("a Duplex is refused in Bun, whose sockets of descriptors move no bytes", async () => {
  await using script = new Script(
    `
    import { Duplex } from "node:stream";
    Object.defineProperty(process, "versions", { value: { ...process.versions, bun: "1.2.3" } });
    const duplex = new Duplex({ read() {}, write() {} });
    const tries = [
      () => product.connect(duplex),
      () => product.createServer().addRaw("a.B", {}).listen(duplex),
    ];
    for (const one of tries) await one().catch((error) => say(error.name + ": " + error.message));
    const server = product.createServer().addRaw("a.B", {});
    say(await server.listen(address));
    await server.close();
  `,
    temporaryAddress(),
  );
  const refused =
    "TypeError: a connection over a Duplex needs sockets of descriptors, which Bun 1.2.3 does not have: use an address, or a descriptor";
  expect(await script.rest()).toEqual([refused, refused, script.address]);
});

import { execFileSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findStaticBusybox } from "../../containerd/rootfs.js";
import { IMAGE_PROGRAMS } from "../build-tools.js";
import { type ImageConfig, ImageStore } from "./store.js";

/** What pods begin with. */
export const PAUSE_IMAGE = "registry.k8s.io/pause:3.10";
/** A shell and all that busybox has. */
export const BUSYBOX_IMAGE = "registry.k8s.io/e2e-test-images/busybox:1.29-2";

const E2E = "e2e-test-images";
const STAGING = "k8s-staging-cri-tools";

const PASSWD = [
  "root:x:0:0::/root:/bin/sh",
  "www-data:x:33:33::/www:/bin/sh",
  "default-user:x:1000:1000::/:/bin/sh",
  "nobody:x:65534:65534::/:/bin/sh",
];
const GROUP = [
  "root:x:0:",
  "www-data:x:33:",
  "default-user:x:1000:",
  "group-defined-in-image:x:50000:default-user",
  "nobody:x:65534:",
];

/**
 * nginx and httpd, as far as critest looks: a page, a pid file, a log, and names of processes. It is started with "master
 * process" as an argument, which nginx has for a title.
 */
const WEB_SERVER = `#!/bin/sh
echo $$ > /run/nginx.pid
echo httpd serves on \${PORT:-80}
httpd -f -p \${PORT:-80} -h /www &
trap 'kill $!; exit 0' TERM QUIT
wait $!
`;

/** What Debian's busybox lacks. */
const SCRIPTS = {
  ipcs: "#!/bin/sh\ncat /proc/sysvipc/shm\n",
  pgrep: '#!/bin/sh\npidof "$1"\n',
};

/** Makes every image that the specs of critest ask for, and what the other tests use. */
export function makeImages(): ImageStore {
  const store = new ImageStore();
  const folder = mkdtempSync(join(tmpdir(), "images-"));
  try {
    const pause = store.layer(programFolder(folder, "pause", 0o755));
    const euid = store.layer(programFolder(folder, "euid", 0o4755));
    const base = store.layer(busyboxFolder(join(folder, "busybox")));
    const tagged = (names: readonly string[], config: ImageConfig = {}) =>
      store.image(names, [base], { Cmd: ["sh"], Labels: { name: names[0] ?? "" }, ...config });

    // Two images, since a spec removes all names of one, and pods need the other.
    for (const name of ["pause:3.10", "pause:3.9"]) {
      store.image([name], [pause], { Entrypoint: ["/pause"], Labels: { name } });
    }
    store.image([`${E2E}/nonewprivs:1.3`], [base, euid], { Entrypoint: ["/euid"] });
    tagged([`${E2E}/busybox:1.29-2`]);
    const server = { Entrypoint: ["/usr/sbin/nginx", "master process"] };
    tagged([`${E2E}/nginx:1.14-2`, `${E2E}/httpd:2.4.39-4`], server);
    const onHost = { Entrypoint: ["/bin/env", "PORT=12003", "/usr/sbin/nginx"] };
    tagged(
      ["amd64", "arm64"].map((name) => `${STAGING}/hostnet-nginx-${name}:latest`),
      onHost,
    );
    const users = {
      uid: "1002",
      username: "www-data",
      "uid-group": "1003:1004",
      "username-group": "www-data:1004",
    };
    for (const [name, User] of Object.entries(users))
      tagged([`${STAGING}/test-image-user-${name}:latest`], { User });
    tagged([`${STAGING}/test-image-predefined-group:latest`], { User: "1000" });
    for (const name of ["latest", "1", "2", "3"]) tagged([`${STAGING}/test-image-${name}:latest`]);
    for (const tag of ["test", "all"]) tagged([`${STAGING}/test-image-tag:${tag}`]);
    tagged(["1", "2", "3"].map((tag) => `${STAGING}/test-image-tags:${tag}`));
    return store;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function programFolder(parent: string, name: string, mode: number): string {
  const folder = join(parent, name);
  mkdirSync(folder);
  copyFileSync(join(IMAGE_PROGRAMS, name), join(folder, name));
  chmodSync(join(folder, name), mode);
  return folder;
}

/** Makes the root filesystem of a machine that has busybox alone. */
export function busyboxFolder(folder: string): string {
  const busybox = findStaticBusybox();
  if (busybox === undefined) throw new Error("there is no static busybox on this machine");
  for (const name of ["bin", "dev", "etc", "proc", "root", "run", "sys", "tmp", "usr/sbin", "var", "www"]) {
    mkdirSync(join(folder, name), { recursive: true });
  }
  chmodSync(join(folder, "tmp"), 0o1777);
  copyFileSync(busybox, join(folder, "bin/busybox"));
  for (const path of execFileSync(busybox, ["--list"], { encoding: "utf8" }).split("\n")) {
    if (path !== "" && path !== "busybox") symlinkSync("busybox", join(folder, "bin", path));
  }
  for (const [name, script] of Object.entries(SCRIPTS)) {
    writeFileSync(join(folder, "bin", name), script, { mode: 0o755 });
  }
  symlinkSync("../run", join(folder, "var/run"));
  writeFileSync(join(folder, "etc/passwd"), PASSWD.map((line) => `${line}\n`).join(""));
  writeFileSync(join(folder, "etc/group"), GROUP.map((line) => `${line}\n`).join(""));
  writeFileSync(join(folder, "www/index.html"), "welcome\n");
  writeFileSync(join(folder, "usr/sbin/nginx"), WEB_SERVER, { mode: 0o755 });
  return folder;
}

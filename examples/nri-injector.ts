// An NRI plugin that gives containers the environment variables and devices that annotations of their pods name:
//
//   env.inject.example.com/NAME: value
//   device.inject.example.com/CONTAINER: /dev/fuse,/dev/kvm
import { stat } from "node:fs/promises";
import { Adjustment, type DeviceSpec, runPlugin } from "containerd-shim-protos/nri";

const ENV = "env.inject.example.com/";
const DEVICE = "device.inject.example.com/";
const [socket] = process.argv.slice(2);

async function deviceAt(path: string): Promise<DeviceSpec> {
  const found = await stat(path);
  const isBlock = found.isBlockDevice();
  if (!isBlock && !found.isCharacterDevice()) throw new Error(`${path} is no device`);
  const { rdev, mode, uid, gid } = found;
  const major = ((rdev >> 8) & 0xfff) | (Math.floor(rdev / 2 ** 32) & ~0xfff);
  const minor = (rdev & 0xff) | ((rdev >> 12) & 0xfff00);
  return { path, type: isBlock ? "b" : "c", major, minor, fileMode: mode & 0o777, uid, gid };
}

runPlugin(
  "injector",
  "20",
  {
    async createContainer({ pod, container }) {
      const adjustment = new Adjustment();
      for (const [key, value] of Object.entries(pod.annotations)) {
        if (key.startsWith(ENV)) adjustment.env(key.slice(ENV.length), value);
      }
      const paths = pod.annotations[DEVICE + container.name]?.split(",") ?? [];
      // A path that does not exist fails the container, as its author would want.
      for (const path of paths) adjustment.device(await deviceAt(path));
      return adjustment;
    },
  },
  { socket },
);

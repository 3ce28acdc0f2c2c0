/** Runs shim-runc and containerd's own shim side by side under dockerd: `npm run test:docker`. */

import { buildContainerd2 } from "../containerd/build-containerd2.js";
import { buildRunc } from "../cri/build-tools.js";
import { runSuite } from "../cri/machine/suite.js";
import { installMissing } from "../cri/requirements.js";
import { buildDocker } from "./build-docker.js";

const tools = () => [buildDocker(), buildContainerd2(), buildRunc()];
await runSuite("vitest.docker.config.ts", installMissing("ps", "script"), tools);

/** Runs shim-runc and containerd's own shim side by side as Kubernetes and nerdctl use them: `npm run test:cri`. */

import { buildTools } from "./build-tools.js";
import { runSuite } from "./machine/suite.js";
import { installMissing } from "./requirements.js";

await runSuite("vitest.cri.config.ts", installMissing(), buildTools);

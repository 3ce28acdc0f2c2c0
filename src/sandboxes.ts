/**
 * The folder of containerd's state in which each sandbox has a bundle, below its namespace, if containerd 2.0 or later runs the
 * sandbox's shim with its sandbox controller `shim`.
 */
export const SANDBOXES = "io.containerd.sandbox.controller.v1.shim";

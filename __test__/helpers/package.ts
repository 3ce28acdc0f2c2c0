/** What programs that a test starts import for the package: the same as the test does. */
export const PACKAGE = process.env["TEST_PACKAGE"] ?? "containerd-shim-protos";

/** The specifier by which programs that a test starts import the same package as the test. */
export const PACKAGE = process.env["TEST_PACKAGE"] ?? "containerd-shim-protos";

/** What the process ends with. */
export const ExitCode = {
  Ok: 0,
  /** The peer, or a deadline, answered a call with a status. */
  Status: 1,
  /** The command line, or a file that it names, is wrong. */
  Usage: 2,
  /** There is no connection to the peer, or it ended. */
  Connection: 3,
  /** A fault of this program, by sysexits.h. */
  Software: 70,
} as const;

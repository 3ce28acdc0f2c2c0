/** The exit codes of the process. */
export const ExitCode = {
  Ok: 0,
  /** The peer, or a deadline, answered a call with a status. */
  Status: 1,
  /** The command line, or a file that it names, is wrong, or the addon cannot be loaded. */
  Usage: 2,
  /** The connection to the peer could not be made, or ended. */
  Connection: 3,
  /** A bug in this program; EX_SOFTWARE in sysexits.h. */
  Software: 70,
  /** The output could not be written, as when a disk is full; EX_IOERR in sysexits.h. */
  Output: 74,
} as const;

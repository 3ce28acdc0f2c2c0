/** Exits with the given code. */
process.exit(Number(process.argv[2]));

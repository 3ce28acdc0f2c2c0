/** Ends with the code that it is given. */
process.exit(Number(process.argv[2]));

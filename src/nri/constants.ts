/** The version of NRI that this package describes, which plugins and runtimes tell each other. */
export const NRI_VERSION = "v0.12.5";

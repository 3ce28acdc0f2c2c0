/**
 * Loads what reports errors. Whoever needs it later loads it early: in weeks, an update may have replaced its file. Node finds
 * a loaded module without its file only from the module that has imported it before.
 */
export const loadReport = () => import("./report-error.js");

/** The result of a step, or undefined if it fails, of which `report` hears: no failure keeps the next step from being tried. */
export async function attempt<T>(
  step: () => T | Promise<T>,
  report: (error: unknown) => void,
): Promise<T | undefined> {
  try {
    return await step();
  } catch (error) {
    report(error);
    return undefined;
  }
}

/** What a promise rejects with, if it does. */
export async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error ?? new Error("no reason");
  }
}

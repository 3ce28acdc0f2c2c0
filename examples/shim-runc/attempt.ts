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

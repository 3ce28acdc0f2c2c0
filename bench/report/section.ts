/** Sections of report.md that have a bench of their own. */

/** The section with a title, `## …`, if the report has it. */
export function sectionOf(report: string, title: string): string | undefined {
  const start = `\n${report}`.indexOf(`\n${title}\n`);
  if (start < 0) return undefined;
  const end = report.indexOf("\n## ", start + 1);
  return report.slice(start, end < 0 ? undefined : end).trimEnd();
}

/** A report with a section, which starts with its title and replaces an earlier one. */
export function withSection(report: string, section: string): string {
  const [title = ""] = section.split("\n", 1);
  const present = sectionOf(report, title);
  if (present !== undefined) return report.replace(present, () => section);
  return `${report.trimEnd()}\n\n${section}\n`;
}

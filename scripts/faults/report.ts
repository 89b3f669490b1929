// SPDX-License-Identifier: Apache-2.0
/** What campaigns of injected faults are asked for and what they report, and how that is shown. */

/** Something that must not happen, and did. */
export interface FaultFailure {
  /** What happened where: one sentence. */
  readonly what: string;
  /** The command that shows it again. */
  readonly how: string;
}

/** What a campaign did. */
export interface FaultReport {
  readonly name: string;
  /** How often what was done and what came of it, in the order in which they are shown: `injected`, `resumed`, … */
  readonly counts: Readonly<Record<string, number>>;
  readonly failures: readonly FaultFailure[];
}

/** Choices of a {@linkcode Campaign}. */
export interface CampaignOptions {
  /** No further fault is injected after so many seconds. */
  readonly seconds: number;
  /** No more cases than these. Default: as many as there is time for. */
  readonly most?: number;
  /** Of every random choice: what comes when is the same for the same seed, only how far it gets is not. */
  readonly seed: number;
  /** One case alone, as a failure names it after the campaign's name. */
  readonly replay?: string;
  /** Told how far it is, now and then: one line. */
  readonly onProgress?: (line: string) => void;
}

/** Injects faults until its time is over, and counts what came of them. */
export type Campaign = (options: CampaignOptions) => Promise<FaultReport>;

/** A table of what was counted, and below it each failure with the command that shows it again. */
export function formatReports(reports: readonly FaultReport[]): string {
  const rows = reports.flatMap(({ name, counts, failures }) =>
    Object.entries({ ...counts, violations: failures.length })
      .map(([what, count], i) => [i === 0 ? name : "", what, String(count)])
  );
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row[column] as string).length)));
  const table = rows.map(([name, what, count]) =>
    [
      (name as string).padEnd(widths[0] as number),
      (what as string).padEnd(widths[1] as number),
      (count as string).padStart(widths[2] as number),
    ].join("  ")
  );
  const failures = reports.flatMap(({ name, failures }) =>
    failures.map(({ what, how }) => `VIOLATION in ${name}: ${what}\n  again: ${how}`)
  );
  return [...table, ...failures].join("\n");
}

// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task faults`: campaigns of injected faults over everything that touches files, which share the time given. Ends with
 * a table of counts, and with 1 when anything happened that must not.
 */
import { parseArgs } from "node:util";
import { BuildError, ensureBuilt } from "./build.ts";
import { crashPoints } from "./faults/crash_points.ts";
import { kills } from "./faults/kills.ts";
import { type Campaign, type FaultReport, formatReports } from "./faults/report.ts";
import { helpIfAsked } from "./help.ts";

/** A campaign, its part of the time, and the cases of a sample: the same ones whatever the machine, when there is time. */
interface Part {
  readonly campaign: Campaign;
  readonly weight: number;
  readonly sample: number;
}

const CAMPAIGNS: Readonly<Record<string, Part>> = {
  "crash-points": { campaign: crashPoints, weight: 2, sample: 24 },
  "kills": { campaign: kills, weight: 1, sample: 8 },
};

const HOUR = 3600;
/** With what is under way when the time is over, the gate has it within two minutes. */
const SAMPLE = 100;

interface Asked {
  readonly seconds: number;
  readonly sample: boolean;
  readonly seed: number;
  readonly only: readonly string[];
  /** A campaign and one case of it. */
  readonly replay: readonly [name: string, which: string] | null;
}

/** @throws {TypeError | RangeError} When a flag is unknown, or its value is of no use */
function readArguments(args: readonly string[]): Asked {
  const { values } = parseArgs({
    args: [...args],
    options: {
      sample: { type: "boolean", default: false },
      seconds: { type: "string" },
      seed: { type: "string", default: "1" },
      only: { type: "string", multiple: true, default: [] },
      case: { type: "string" },
    },
  });
  const [, name = "", which = ""] = /^(\S+) (.+)$/.exec(values.case ?? "") ?? [];
  const asked = {
    seconds: Number(values.seconds ?? (values.sample ? SAMPLE : HOUR)),
    sample: values.sample,
    seed: Number(values.seed),
    only: values.case === undefined ? values.only : [name],
    replay: values.case === undefined ? null : [name, which] as const,
  };
  if (!(asked.seconds > 0)) throw new RangeError(`--seconds is ${values.seconds}, expected a number above 0`);
  if (!Number.isInteger(asked.seed)) {
    throw new RangeError(`--seed is ${values.seed}, expected a whole number`);
  }
  const unknown = asked.only.find((each) => !(each in CAMPAIGNS));
  if (unknown !== undefined) {
    throw new RangeError(`"${unknown}" is no campaign: there are ${Object.keys(CAMPAIGNS).join(", ")}`);
  }
  return asked;
}

async function run({ seconds, sample, seed, only, replay }: Asked): Promise<FaultReport[]> {
  const chosen = Object.entries(CAMPAIGNS).filter(([name]) => only.length === 0 || only.includes(name));
  const weights = chosen.reduce((sum, [, { weight }]) => sum + weight, 0);
  const reports: FaultReport[] = [];
  for (const [, { campaign, weight, sample: most }] of chosen) {
    reports.push(
      await campaign({
        seconds: seconds * weight / weights,
        seed,
        ...(sample && { most }),
        ...(replay && { replay: replay[1] }),
        onProgress: (line) => console.log(line),
      }),
    );
  }
  return reports;
}

if (import.meta.main) {
  helpIfAsked("faults");
  const asked = askedOrExit();
  try {
    await ensureBuilt();
    const reports = await run(asked);
    console.log(formatReports(reports));
    Deno.exit(reports.some(({ failures }) => failures.length > 0) ? 1 : 0);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(error.message);
    Deno.exit(1);
  }
}

function askedOrExit(): Asked {
  try {
    return readArguments(Deno.args);
  } catch (error) {
    console.error((error as Error).message);
    Deno.exit(2);
  }
}

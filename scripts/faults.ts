// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task faults`: campaigns of injected faults over everything that touches files, which share the time given. Ends with
 * a table of counts, and with 1 when anything happened that must not.
 */
import { parseArgs } from "node:util";
import { BuildError, ensureBuilt } from "./build.ts";
import { crashPoints } from "./faults/crash_points.ts";
import { FUZZ_CAMPAIGNS } from "./faults/fuzz.ts";
import { kills } from "./faults/kills.ts";
import { inParallel } from "./faults/pool.ts";
import { powerLoss } from "./faults/power_loss.ts";
import { type Campaign, type FaultReport, formatReports } from "./faults/report.ts";
import { helpIfAsked } from "./help.ts";

/** Campaigns of one kind, their part of the time, and the cases of a sample: the same ones on every machine with time for them. */
interface Part {
  readonly campaigns: readonly Campaign[];
  readonly weight: number;
  readonly sample: number;
  /** Whether a violation names a case of ours, not a command of its own. */
  readonly hasCases: boolean;
}

const PARTS: Readonly<Record<string, Part>> = {
  "crash-points": { campaigns: [crashPoints], weight: 3, sample: 24, hasCases: true },
  "kills": { campaigns: [kills], weight: 2, sample: 8, hasCases: true },
  "fuzz": { campaigns: FUZZ_CAMPAIGNS, weight: 2, sample: 100, hasCases: false },
  "power-loss": { campaigns: [powerLoss], weight: 1, sample: 6, hasCases: true },
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
  const unknown = asked.only.find((each) => PARTS[each] === undefined);
  if (unknown !== undefined) {
    throw new RangeError(`"${unknown}" is no campaign: there are ${Object.keys(PARTS).join(", ")}`);
  }
  if (asked.replay && !PARTS[name]?.hasCases) {
    throw new RangeError(`"${name}" has no cases: what it finds it tells with a command of its own`);
  }
  return asked;
}

async function run({ seconds, sample, seed, only, replay }: Asked): Promise<FaultReport[]> {
  const chosen = Object.entries(PARTS).filter(([name]) => only.length === 0 || only.includes(name));
  const weights = chosen.reduce((sum, [, { weight }]) => sum + weight, 0);
  const reports: FaultReport[] = [];
  for (const [, { campaigns, weight, sample: most }] of chosen) {
    const ofPart = seconds * weight / weights;
    const options = {
      // Several take turns, as many at once as there are cores.
      seconds: Math.min(ofPart, ofPart * navigator.hardwareConcurrency / campaigns.length),
      seed,
      ...(sample && { most }),
      ...(replay && { replay: replay[1] }),
      onProgress: (line: string) => console.log(line),
    };
    reports.push(...await inParallel(campaigns, (campaign) => campaign(options)));
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

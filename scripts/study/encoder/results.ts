// SPDX-License-Identifier: Apache-2.0
/** What the study found: every cell here and in PyTorch, and what of both is compared. */
import type { Estimate } from "../../../lib/evaluate/metrics.ts";
import { meanOverSeeds, studentHalf } from "../../../lib/evaluate/seeds.ts";
import { formatCount } from "../../../lib/report/format.ts";
import type { Machine } from "../../bench/machine.ts";
import { median } from "../../bench/statistics.ts";
import type { StepTimes } from "../cells.ts";

/** A training on one side. */
export interface SideResult {
  readonly accuracy: number;
  readonly f1: number;
  /** Null where a run went on from a checkpoint. */
  readonly times: Pick<StepTimes, "rows" | "seconds" | "cpuSeconds"> | null;
}

/** A method with one seed, here and there. */
export interface PairResult {
  readonly method: string;
  readonly seed: number;
  readonly lr: number;
  readonly trained: number;
  readonly ours: SideResult;
  /** Null where PyTorch was left out. */
  readonly torch: SideResult | null;
}

/** All of it, as it is kept. */
export interface StudyResults {
  readonly machine: Machine;
  readonly testRows: number;
  readonly pytorch: string | null;
  readonly pairs: readonly PairResult[];
}

/** One method over its seeds. */
export interface MethodResult {
  readonly method: string;
  readonly lr: number;
  readonly trained: number;
  readonly accuracy: readonly [ours: Estimate, torch: Estimate | null];
  readonly f1: readonly [ours: Estimate, torch: Estimate | null];
  /** Accuracy here less that there, pair by pair: both had the same batches. Null without PyTorch. */
  readonly difference: { readonly mean: number; readonly half: number } | null;
  /** Medians over the seeds of rows a second of CPU time, which what else the machine does hardly changes. */
  readonly rowsPerSecond: readonly [ours: number, torch: number | null];
  /** PyTorch's CPU time for a row over ours, and so by the clock: medians over the seeds, of runs one after the other. */
  readonly faster: number | null;
  readonly fasterByClock: number | null;
}

type Score = "accuracy" | "f1";

/** Methods in the order of their first cells. */
export function byMethod({ pairs, testRows }: StudyResults): MethodResult[] {
  const names = [...new Set(pairs.map(({ method }) => method))];
  return names.map((method) => summarizeMethod(pairs.filter((pair) => pair.method === method), testRows));
}

function summarizeMethod(pairs: readonly PairResult[], count: number): MethodResult {
  const { method, lr, trained } = pairs[0] as PairResult;
  const whole = pairs.flatMap(({ ours, torch }) => torch === null ? [] : [{ ours, torch }]);
  const of = (sides: readonly SideResult[], score: Score): Estimate => {
    const all = sides.map((side) => side[score]);
    // One seed says nothing of others.
    return meanOverSeeds(all.map((mean) => ({ mean, low: mean, high: mean, count })));
  };
  const both = (score: Score) =>
    [
      of(pairs.map(({ ours }) => ours), score),
      whole.length === 0 ? null : of(whole.map(({ torch }) => torch), score),
    ] as const;
  const speeds = (sides: readonly SideResult[]) =>
    median(sides.flatMap(({ times }) => times === null ? [] : [times.rows / times.cpuSeconds]));
  const ratio = (name: "seconds" | "cpuSeconds"): number | null => {
    const ratios = whole.flatMap(({ ours, torch }) =>
      ours.times && torch.times
        ? [(torch.times[name] / torch.times.rows) / (ours.times[name] / ours.times.rows)]
        : []
    );
    return ratios.length === 0 ? null : median(ratios);
  };
  const differences = whole.map(({ ours, torch }) => ours.accuracy - torch.accuracy);
  const mean = differences.reduce((sum, one) => sum + one, 0) / differences.length;
  return {
    ...{ method, lr, trained, accuracy: both("accuracy"), f1: both("f1") },
    difference: whole.length < 2 ? null : { mean, half: studentHalf(differences) },
    rowsPerSecond: [
      speeds(pairs.map(({ ours }) => ours)),
      whole.length === 0 ? null : speeds(whole.map(({ torch }) => torch)),
    ],
    faster: ratio("cpuSeconds"),
    fasterByClock: ratio("seconds"),
  };
}

/** Whether PyTorch's scores are those of here: the interval of the difference has 0 in it. */
export function isSame({ difference }: MethodResult): boolean | null {
  return difference && Math.abs(difference.mean) <= difference.half;
}

const percent = (share: number) => (100 * share).toFixed(1);
const interval = (estimate: Estimate | null) =>
  estimate === null
    ? ""
    : estimate.low === estimate.high
    ? percent(estimate.mean)
    : `${percent(estimate.mean)} (${percent(estimate.low)} to ${percent(estimate.high)})`;

/** The table, below a head. */
export function tableRows(methods: readonly MethodResult[]): string[][] {
  const number = (value: number | null, digits: number) => value === null ? "" : value.toFixed(digits);
  return [
    [
      "method",
      "trained",
      "accuracy, %",
      "in PyTorch",
      "difference",
      "macro F1, %",
      "in PyTorch",
      "rows a CPU second",
      "in PyTorch",
      "faster",
      "by the clock",
    ],
    ...methods.map((one) => [
      one.method,
      formatCount(one.trained),
      interval(one.accuracy[0]),
      interval(one.accuracy[1]),
      one.difference === null
        ? ""
        : `${percent(one.difference.mean)} ± ${percent(one.difference.half)}${
          isSame(one) ? "" : ", differs"
        }`,
      percent(one.f1[0].mean),
      one.f1[1] === null ? "" : percent(one.f1[1].mean),
      number(one.rowsPerSecond[0], 0),
      number(one.rowsPerSecond[1], 0),
      number(one.faster, 2),
      number(one.fasterByClock, 2),
    ]),
  ];
}

// SPDX-License-Identifier: Apache-2.0
/** What remembering less costs: steps of the same sizes in turn, and their times over those that store. */
import type { ModelSizes } from "../checkpoint.ts";
import { writeCheckpoint } from "../checkpoint.ts";
import { type CaseDefaults, stepCase } from "../cases.ts";
import { summarize, type Summary } from "../statistics.ts";
import { type Contestant, enter, ratiosOf, takeTurns } from "../turns.ts";
import { TIMED_METHODS } from "./methods.ts";

/** One way of training, timed. */
export interface TimedStep {
  readonly way: string;
  readonly ms: Summary;
  /** Over the time of the step that stores, of each round, and over that which computes again. */
  readonly overStore: Summary;
  readonly overRecompute: Summary;
}

/** Choices of {@linkcode timeSteps}. */
export interface TimedOptions extends CaseDefaults {
  readonly rounds: number;
  /** For checkpoints. */
  readonly folder: string;
  readonly onProgress: (text: string) => void;
}

const SIZES: ModelSizes = {
  ...{ hidden: 512, layers: 8, heads: 8, kvHeads: 8, inner: 1408, vocabulary: 8192 },
};
const TOKENS = 512;

/** Runs all of them in turn. */
export async function timeSteps(options: TimedOptions): Promise<TimedStep[]> {
  const { folder, seed, rounds, onProgress } = options;
  const checkpoint = await writeCheckpoint(folder, SIZES, "f32", seed);
  await using stack = new AsyncDisposableStack();
  const contestants: { label: string; contestant: Contestant }[] = [];
  for (const { label, method, activations } of TIMED_METHODS) {
    const name = label.replaceAll(/\W+/g, "-");
    const one = { ...stepCase(name, checkpoint, method, TOKENS, options), activations };
    contestants.push({ label, contestant: stack.use(await enter("ours", one)) });
  }
  await takeTurns(contestants.map(({ contestant }) => contestant), rounds);
  const [store, recompute] = contestants as [typeof contestants[number], typeof contestants[number]];
  return contestants.map(({ label, contestant }) => {
    const result = {
      way: label,
      ms: summarize(contestant.ms),
      overStore: summarize(ratiosOf(contestant, store.contestant)),
      overRecompute: summarize(ratiosOf(contestant, recompute.contestant)),
    };
    onProgress(`${label}: ${result.ms.median.toFixed(0)} ms`);
    return result;
  });
}

// SPDX-License-Identifier: Apache-2.0
/** What remembering less costs: steps of the same sizes in turn, and their times over those that store. */
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { type CaseDefaults, stepCase } from "../cases.ts";
import { writeRandomModel } from "../checkpoint.ts";
import { summarize, type Summary } from "../statistics.ts";
import { type Contestant, cpuRatiosOf, enter, takeTurns } from "../turns.ts";
import { countActivations } from "./counted.ts";
import { type StepMethod, TIMED_METHODS } from "./methods.ts";
import { configOf, formatShape, type Shape } from "./shapes.ts";

/** One way of training, timed. */
export interface TimedStep {
  readonly shape: Shape;
  readonly way: string;
  /** Of the processor, over all threads. */
  readonly cpuMs: Summary;
  /** Over the processor's time of the step that stores, of each round, and over that which computes again. */
  readonly overStore: Summary;
  readonly overRecompute: Summary;
  /** Most bytes of activations: what the steps took, and what was counted before. */
  readonly measuredBytes: number;
  readonly countedBytes: number;
}

/** Choices of {@linkcode timeSteps}. */
export interface TimedOptions extends CaseDefaults {
  readonly rounds: number;
  /** For checkpoints. */
  readonly folder: string;
  readonly onProgress: (text: string) => void;
}

/** Runs all of them in turn. @param kernels Whose types it is counted in */
export async function timeSteps(kernels: Kernels, shape: Shape, options: TimedOptions): Promise<TimedStep[]> {
  const { folder, seed, rounds, onProgress } = options;
  const checkpoint = {
    folder: await writeRandomModel(folder, configOf(shape), "f32", seed),
    dtype: "f32",
  } as const;
  await using stack = new AsyncDisposableStack();
  const contestants: { one: StepMethod; contestant: Contestant }[] = [];
  for (const one of TIMED_METHODS) {
    const { label, method, activations, anchorEvery } = one;
    const name = label.replaceAll(/\W+/g, "-");
    const own = {
      sequences: shape.rows,
      seqLen: shape.length,
      activations,
      ...(anchorEvery && { anchorEvery }),
    };
    const made = { ...stepCase(name, checkpoint, method, shape.length * shape.rows, options), ...own };
    contestants.push({ one, contestant: stack.use(await enter("ours", made)) });
  }
  await takeTurns(contestants.map(({ contestant }) => contestant), rounds);
  const [store, recompute] = contestants as [typeof contestants[number], typeof contestants[number]];
  const results: TimedStep[] = [];
  for (const { one, contestant } of contestants) {
    const { steps } = contestant;
    results.push({
      shape,
      way: one.label,
      cpuMs: summarize(steps.map(({ cpuMs = NaN }) => cpuMs)),
      overStore: summarize(cpuRatiosOf(contestant, store.contestant)),
      overRecompute: summarize(cpuRatiosOf(contestant, recompute.contestant)),
      measuredBytes: Math.max(...steps.map(({ activationBytes = NaN }) => activationBytes)),
      countedBytes: (await countActivations(kernels, shape, one)).peak,
    });
  }
  onProgress(`steps of ${formatShape(shape)}`);
  return results;
}

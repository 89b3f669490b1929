// SPDX-License-Identifier: Apache-2.0
/** Runs the training loop for people: progress, Ctrl-C, and the account at the end. */
import type { AdapterParams } from "../adapters/adapter.ts";
import type { JsonObject } from "../core/json.ts";
import type { Dataset } from "../data/dataset.ts";
import { formatLoss } from "../report/format.ts";
import { createProgress } from "../report/progress.ts";
import { train } from "../predict/train.ts";
import type { TrainEvent, TrainResult } from "../train/loop.ts";
import type { Run } from "../train/plan.ts";
import { listenForInterrupt } from "./interrupt.ts";
import { type Output, warn } from "./output.ts";

/** What a run did, in numbers. */
export interface TrainingAccount extends TrainResult {
  /** What was learnt. */
  readonly params: AdapterParams | null;
  /** Steps that the run has in all; null for one that ended before its data had decided them. */
  readonly totalSteps: number | null;
  readonly lossFirst: number | null;
  readonly lossLast: number | null;
  readonly evalLoss: number | null;
  readonly tokens: number;
  /** Bytes that went down to the host and up to the device; 0 where both are one memory. */
  readonly travelledBytes: number;
  /** All of it: steps, evaluations and checkpoints. */
  readonly seconds: number;
  /** Of the steps alone. */
  readonly tokensPerSecond: number;
  /** Milliseconds: until parameters and run folder were there, and of the first step beyond the median of the others. */
  readonly startup: { readonly parameters: number; readonly "first step": number };
}

function progressNote(event: TrainEvent): string {
  const rate = `${Math.round(event.tokensPerSecond)} tokens/s`;
  const evaluated = event.evalLoss === null ? "" : `  eval loss ${formatLoss(event.evalLoss)}`;
  const bound = `bound: ${event.lanes.bound}`;
  return `loss ${formatLoss(event.loss)}  lr ${event.lr.toExponential(2)}  ${rate}  ${bound}${evaluated}`;
}

/** Steps that the first one is compared with. */
const STEPS_COMPARED = 20;

/** What the first step took beyond the median of the next ones: memory touched, weights read from the disk. */
function extraOfFirst([first = 0, ...others]: readonly number[]): number {
  const median = others.sort((a, b) => a - b)[others.length >> 1] ?? first;
  return Math.max(0, first - median);
}

/** Trains to the end, or to the first Ctrl-C, which finishes the step and saves. */
export async function trainWithProgress(
  run: Run,
  data: Dataset,
  options: {
    readonly resume: boolean;
    readonly evalData: Dataset | null;
    /** What the run was asked for. */
    readonly flags: JsonObject;
    /** Awaited after every step, before the next. */
    readonly afterStep: (event: TrainEvent) => Promise<void>;
  },
  output: Output,
): Promise<TrainingAccount> {
  using interrupt = listenForInterrupt(() =>
    output.write("\nStopping after this step; press Ctrl-C again to leave without saving.\n")
  );
  const events = train(run, data, {
    resume: options.resume,
    signal: interrupt.signal,
    flags: options.flags,
    onWarning: warn,
    ...(options.evalData ? { evalData: options.evalData } : {}),
  });
  const start = performance.now();
  let progress: ReturnType<typeof createProgress> | null = null;
  let stepSeconds = 0;
  const stepMs: number[] = [];
  let [parameters, travelledBytes] = [0, 0];
  let [tokens, lossFirst, lossLast, evalLoss]: [number, number | null, number | null, number | null] = [
    0,
    null,
    null,
    null,
  ];
  for (;;) {
    const { value, done } = await events.next();
    if (done) {
      progress?.finish();
      const seconds = (performance.now() - start) / 1000;
      const tokensPerSecond = tokens / Math.max(1e-9, stepSeconds);
      const startup = { parameters, "first step": extraOfFirst(stepMs) };
      return {
        ...value,
        params: events.adapter,
        totalSteps: events.run.totalSteps,
        lossFirst,
        lossLast,
        evalLoss,
        tokens,
        travelledBytes,
        seconds,
        tokensPerSecond,
        startup,
      };
    }
    progress ??= createProgress(output, "training", value.totalSteps, {
      firstDone: value.step - 1,
      startMs: start,
    });
    tokens += value.tokens;
    travelledBytes += value.lanes.downBytes + value.lanes.upBytes;
    const ms = 1000 * value.tokens / value.tokensPerSecond;
    stepSeconds += ms / 1000;
    if (stepMs.length === 0) parameters = Math.max(0, performance.now() - start - ms);
    if (stepMs.length < STEPS_COMPARED) stepMs.push(ms);
    lossFirst ??= value.loss;
    [lossLast, evalLoss] = [value.loss, value.evalLoss ?? evalLoss];
    progress.update(value.step, progressNote(value));
    if (value.checkpoint !== null) progress.line(`saved ${value.checkpoint}`);
    await options.afterStep(value);
  }
}

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

/** What the steps of a run add up to. */
type StepSums = Pick<
  TrainingAccount,
  "lossFirst" | "lossLast" | "evalLoss" | "tokens" | "travelledBytes" | "tokensPerSecond" | "startup"
>;

/** Adds up steps. @param startMs When the run was begun */
function sumSteps(startMs: number): { add(event: TrainEvent): void; sums(): StepSums } {
  let [lossFirst, lossLast, evalLoss]: [number | null, number | null, number | null] = [null, null, null];
  let [tokens, travelledBytes, stepSeconds, parameters] = [0, 0, 0, 0];
  const stepMs: number[] = [];
  return {
    add(event) {
      tokens += event.tokens;
      travelledBytes += event.lanes.downBytes + event.lanes.upBytes;
      const ms = 1000 * event.tokens / event.tokensPerSecond;
      stepSeconds += ms / 1000;
      if (stepMs.length === 0) parameters = Math.max(0, performance.now() - startMs - ms);
      if (stepMs.length < STEPS_COMPARED) stepMs.push(ms);
      lossFirst ??= event.loss;
      [lossLast, evalLoss] = [event.loss, event.evalLoss ?? evalLoss];
    },
    sums: () => ({
      ...{ lossFirst, lossLast, evalLoss },
      tokens,
      travelledBytes,
      tokensPerSecond: tokens / Math.max(1e-9, stepSeconds),
      startup: { parameters, "first step": extraOfFirst(stepMs) },
    }),
  };
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
  const startMs = performance.now();
  const steps = sumSteps(startMs);
  let progress: ReturnType<typeof createProgress> | null = null;
  for (;;) {
    const { value, done } = await events.next();
    if (done) {
      progress?.finish();
      return {
        ...value,
        ...steps.sums(),
        params: events.adapter,
        totalSteps: events.run.totalSteps,
        seconds: (performance.now() - startMs) / 1000,
      };
    }
    progress ??= createProgress(output, "training", value.totalSteps, { firstDone: value.step - 1, startMs });
    steps.add(value);
    progress.update(value.step, progressNote(value));
    if (value.checkpoint !== null) progress.line(`saved ${value.checkpoint}`);
    await options.afterStep(value);
  }
}

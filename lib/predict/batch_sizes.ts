// SPDX-License-Identifier: Apache-2.0
/** How large the micro-batches of a run will be: of full rows, or by its real data and order. */
import { type MicroBatchShape, sequentialShapes, stepShapes } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { givesTokens, type HeadConfig, LM_HEAD } from "../models/heads/head_config.ts";
import { batchOptions, decideSteps } from "../train/batches.ts";
import type { Run } from "../train/plan.ts";
import type { RunSettings } from "../train/run_options.ts";

/** A micro-batch, as far as what it takes depends on it. */
export interface PassSize {
  /** Tokens of the micro-batch. */
  readonly tokens: number;
  /** Tokens that have a target. */
  readonly targets: number;
  /** Tokens that an encoder reads beside those; as many where it is not said. */
  readonly sourceTokens?: number;
}

/** What an optimizer step works on, all micro-batches together. */
export interface StepLoad extends PassSize {
  /** Pairs of a query and a key it sees: the sum over sequences of n (n + 1) / 2. */
  readonly pairs: number;
}

/** The micro-batches of a run, as far as memory depends on them. */
export interface BatchSizes {
  /** Largest first micro-batch of a step: activations may lie in gradients that are still idle. */
  readonly first: PassSize;
  /** Largest later micro-batch of a step; null when steps have one. */
  readonly later: PassSize | null;
  /** Largest micro-batch of an evaluation; null without. */
  readonly evaluation: PassSize | null;
  /** Tokens of the longest sequence, of an evaluation too. */
  readonly longest: number;
  /** Most tokens of a step that a layer sees: of what is read or of what is written, whichever is more. */
  readonly stepTokens: number;
  /** The same of the whole run; Infinity while that is open. */
  readonly runTokens: number;
  /** Of a step, on average. */
  readonly meanStep: StepLoad;
}

/** Full rows: what is known before there is data. @param head Of the model: one on sequences has one target a row */
export function fullBatches(
  { batch: { size, micro, seqLen } }: { readonly batch: Omit<RunSettings["batch"], "packing"> },
  head: HeadConfig = LM_HEAD,
): BatchSizes {
  const pass = (rows: number): PassSize => {
    const { tokens, targets } = fullLoad(rows, seqLen, head);
    return { tokens, targets };
  };
  return {
    first: pass(Math.min(micro, size)),
    later: size > micro ? pass(micro) : null,
    evaluation: null,
    longest: seqLen,
    stepTokens: size * seqLen,
    runTokens: Infinity,
    meanStep: fullLoad(size, seqLen, head),
  };
}

/** Full rows of one length. */
export function fullLoad(rows: number, seqLen: number, head: HeadConfig = LM_HEAD): StepLoad {
  const targets = givesTokens(head) ? seqLen - 1 : 1;
  return { tokens: rows * seqLen, targets: rows * targets, pairs: rows * seqLen * (seqLen + 1) / 2 };
}

/** Micro-batches that are looked at, in a few tenths of a second: all of most runs. */
const SEEN = 1 << 18;

function larger(a: PassSize | null, { tokens, targets, sourceTokens }: MicroBatchShape): PassSize {
  return {
    tokens: Math.max(a?.tokens ?? 0, tokens),
    targets: Math.max(a?.targets ?? 0, targets),
    ...(sourceTokens > 0 && { sourceTokens: Math.max(a?.sourceTokens ?? 0, sourceTokens) }),
  };
}

/** Sizes of a run's micro-batches on its data. */
export function plannedBatches(run: Run, data: Dataset, evalData: Dataset | null = null): BatchSizes {
  const total = decideSteps(run, data);
  let first: PassSize | null = null;
  let later: PassSize | null = null;
  let evaluation: PassSize | null = null;
  let [stepTokens, longest, steps, microBatches] = [0, 0, 0, 0];
  const seen = { tokens: 0, targets: 0, pairs: 0, sourceTokens: 0, inLayers: 0 };
  for (const shapes of stepShapes(data, batchOptions(run))) {
    if (steps === total || microBatches >= SEEN) break;
    let inLayers = 0;
    for (const [i, shape] of shapes.entries()) {
      if (i === 0) first = larger(first, shape);
      else later = larger(later, shape);
      longest = Math.max(longest, shape.longest);
      inLayers += Math.max(shape.tokens, shape.sourceTokens);
      seen.tokens += shape.tokens;
      seen.targets += shape.targets;
      seen.pairs += shape.pairs;
      seen.sourceTokens += shape.sourceTokens;
    }
    stepTokens = Math.max(stepTokens, inLayers);
    seen.inLayers += inLayers;
    microBatches += shapes.length;
    steps++;
  }
  for (const shape of evalData === null ? [] : sequentialShapes(evalData, run.settings.batch.micro)) {
    evaluation = larger(evaluation, shape);
    longest = Math.max(longest, shape.longest);
  }
  const ofStep = (sum: number): number => sum / Math.max(1, steps);
  return {
    first: first ?? { tokens: 0, targets: 0 },
    later,
    evaluation,
    longest,
    stepTokens,
    runTokens: ofStep(seen.inLayers) * total,
    meanStep: {
      ...{ tokens: ofStep(seen.tokens), targets: ofStep(seen.targets), pairs: ofStep(seen.pairs) },
      ...(seen.sourceTokens > 0 && { sourceTokens: ofStep(seen.sourceTokens) }),
    },
  };
}

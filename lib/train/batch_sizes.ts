// SPDX-License-Identifier: Apache-2.0
/** How large the micro-batches of a run will be, by its real data and order. */
import { type MicroBatchShape, sequentialShapes, stepShapes } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { PassSize } from "../models/footprint.ts";
import { batchOptions, decideSteps } from "./batches.ts";
import { type BatchSizes, type MemoryPrediction, predictMemory } from "./memory.ts";
import type { Run } from "./plan.ts";

/** Micro-batches that are looked at, in a few tenths of a second: all of most runs. */
const SEEN = 1 << 18;

function larger(a: PassSize | null, { tokens, targets }: MicroBatchShape): PassSize {
  return { tokens: Math.max(a?.tokens ?? 0, tokens), targets: Math.max(a?.targets ?? 0, targets) };
}

/** Sizes of a run's micro-batches on its data. @mutates run.totalSteps */
export function plannedBatches(run: Run, data: Dataset, evalData: Dataset | null = null): BatchSizes {
  const total = decideSteps(run, data);
  let first: PassSize | null = null;
  let later: PassSize | null = null;
  let evaluation: PassSize | null = null;
  let [stepTokens, longest, steps, microBatches] = [0, 0, 0, 0];
  const seen = { tokens: 0, targets: 0, pairs: 0 };
  for (const shapes of stepShapes(data, batchOptions(run))) {
    if (steps === total || microBatches >= SEEN) break;
    let tokensOfStep = 0;
    for (const [i, shape] of shapes.entries()) {
      if (i === 0) first = larger(first, shape);
      else later = larger(later, shape);
      longest = Math.max(longest, shape.longest);
      tokensOfStep += shape.tokens;
      seen.targets += shape.targets;
      seen.pairs += shape.pairs;
    }
    stepTokens = Math.max(stepTokens, tokensOfStep);
    seen.tokens += tokensOfStep;
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
    runTokens: ofStep(seen.tokens) * total,
    meanStep: { tokens: ofStep(seen.tokens), targets: ofStep(seen.targets), pairs: ofStep(seen.pairs) },
  };
}

/** The memory of a run on its data: what `run.memory` says for full rows, for the rows there are. @mutates run.totalSteps */
export function memoryOnData(run: Run, data: Dataset, evalData: Dataset | null = null): MemoryPrediction {
  const { model, adapterKind, optimizer, settings } = run;
  return predictMemory(model, adapterKind, optimizer, settings, plannedBatches(run, data, evalData));
}

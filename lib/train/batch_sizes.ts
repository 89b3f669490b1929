// SPDX-License-Identifier: Apache-2.0
/** How large the micro-batches of a run will be, by its real data and order. */
import { sequentialBatches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import type { PassSize } from "../models/footprint.ts";
import { batches, decideSteps } from "./batches.ts";
import { type BatchSizes, type MemoryPrediction, predictMemory } from "./memory.ts";
import type { Run } from "./plan.ts";

/** Steps that are looked at: the longest rows come early or often. */
const STEPS_SEEN = 500;

function larger(a: PassSize | null, { ids, targetCount }: BatchShape): PassSize {
  return {
    tokens: Math.max(a?.tokens ?? 0, ids.length),
    targets: Math.max(a?.targets ?? 0, targetCount),
  };
}

interface BatchShape {
  readonly ids: Int32Array;
  readonly targetCount: number;
}

/** Pairs of a query and a key it sees: n (n + 1) / 2 of each sequence. */
function pairsOf(starts: Int32Array): number {
  let pairs = 0;
  for (let s = 0; s + 1 < starts.length; s++) {
    const n = (starts[s + 1] as number) - (starts[s] as number);
    pairs += n * (n + 1) / 2;
  }
  return pairs;
}

/** Sizes of a run's micro-batches on its data. @mutates run.totalSteps */
export function plannedBatches(run: Run, data: Dataset, evalData: Dataset | null = null): BatchSizes {
  const total = decideSteps(run, data);
  let first: PassSize | null = null;
  let later: PassSize | null = null;
  let evaluation: PassSize | null = null;
  let [stepTokens, steps] = [0, 0];
  const seen = { tokens: 0, targets: 0, pairs: 0 };
  for (const { microBatches, tokenCount, targetCount } of batches(run, data)) {
    for (const [i, { batch }] of microBatches.entries()) {
      if (i === 0) first = larger(first, batch);
      else later = larger(later, batch);
      seen.pairs += pairsOf(batch.starts);
    }
    stepTokens = Math.max(stepTokens, tokenCount);
    seen.tokens += tokenCount;
    seen.targets += targetCount;
    if (++steps === STEPS_SEEN) break;
  }
  if (evalData !== null) {
    for (const { batch } of sequentialBatches(evalData, run.settings.batch.micro)) {
      evaluation = larger(evaluation, batch);
    }
  }
  return {
    first: first ?? { tokens: 0, targets: 0 },
    later,
    evaluation,
    stepTokens,
    runTokens: seen.tokens * total / Math.max(1, steps),
    meanStep: {
      tokens: seen.tokens / Math.max(1, steps),
      targets: seen.targets / Math.max(1, steps),
      pairs: seen.pairs / Math.max(1, steps),
    },
  };
}

/** The memory of a run on its data: what `run.memory` says for full rows, for the rows there are. @mutates run.totalSteps */
export function memoryOnData(run: Run, data: Dataset, evalData: Dataset | null = null): MemoryPrediction {
  const { model, adapterKind, optimizer, settings } = run;
  return predictMemory(model, adapterKind, optimizer, settings, plannedBatches(run, data, evalData));
}

// SPDX-License-Identifier: Apache-2.0
/** Activations of a training step of ours, counted: what lives at the turn of a pass, and what is held at most. */
import { methodByName } from "../../../lib/methods/methods.ts";
import { describeModel } from "../../../lib/models/described.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { fullBatches } from "../../../lib/predict/batch_sizes.ts";
import { countedRun } from "../../../lib/predict/counted_passes.ts";
import { plan } from "../../../lib/train/plan.ts";
import { rememberedBy } from "../../../lib/train/run_options.ts";
import type { StepMethod } from "./methods.ts";
import { configOf, type Shape } from "./shapes.ts";

/** Bytes of a step's activations. */
export interface ActivationBytes {
  /** What forward kept, when the loss is about to be computed. */
  readonly kept: number;
  /** Most at one time. */
  readonly peak: number;
}

/** Counts the first micro-batch of a run. @param kernels Whose types it is counted in */
export async function countActivations(
  kernels: Kernels,
  shape: Shape,
  { method: { method, sizes }, activations }: StepMethod,
): Promise<ActivationBytes> {
  using model = describeModel(configOf(shape), kernels);
  const { length: seqLen, rows } = shape;
  const batch = { size: rows, micro: rows, seqLen };
  const run = plan(model, { method: methodByName(method, { ...sizes }), activations, batch, steps: 1 });
  const tokensPerStep = rows * seqLen;
  const counted = countedRun(model, run.adapterKind, { ...rememberedBy(run.settings), tokensPerStep });
  const { first } = fullBatches(run.settings, model.config.head);
  const kept = watchTurn(counted.kernels);
  await counted.train(first, { longest: seqLen });
  return { kept: kept(), peak: counted.kernels.arena.bytes };
}

/** Bytes that are in use where the loss is first computed, without its logits. @mutates kernels */
function watchTurn(kernels: Kernels): () => number {
  let kept: number | null = null;
  const { crossEntropy } = kernels;
  const watched: Kernels["crossEntropy"] = (loss, logits, ...others) => {
    kept ??= kernels.arena.usedBytes - logits.byteLength;
    crossEntropy(loss, logits, ...others);
  };
  Object.assign(kernels, { crossEntropy: watched });
  return () => kept ?? 0;
}

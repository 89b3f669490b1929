// SPDX-License-Identifier: Apache-2.0
/** Activations of a training step of ours, counted: what lives at the turn of a pass, and what is held at most. */
import { methodByName } from "../../../lib/methods/methods.ts";
import { describeModel } from "../../../lib/models/described.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import type { CountingKernels } from "../../../lib/ops/counting/counting_kernels.ts";
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

/** What our step holds and computes. */
export interface CountedStep extends ActivationBytes {
  /** Multiplications and additions of products with weights and of attention, a pair counted once. */
  readonly products: number;
}

/** Counts the first micro-batch of a run. @param kernels Whose types it is counted in */
export async function countActivations(
  kernels: Kernels,
  shape: Shape,
  { method: { method, sizes }, activations, anchorEvery }: StepMethod,
): Promise<CountedStep> {
  using model = describeModel(configOf(shape), kernels);
  const { length: seqLen, rows } = shape;
  const batch = { size: rows, micro: rows, seqLen };
  const run = plan(model, {
    method: methodByName(method, { ...sizes }),
    ...{ activations, batch, steps: 1 },
    ...(anchorEvery !== undefined && { anchorEvery }),
  });
  const tokensPerStep = rows * seqLen;
  const counted = countedRun(model, run.adapterKind, { ...rememberedBy(run.settings), tokensPerStep });
  const { first } = fullBatches(run.settings, model.config.head);
  const kept = watchTurn(counted.kernels);
  const products = watchProducts(counted.kernels, shape);
  await counted.train(first, { longest: seqLen });
  return { kept: kept(), peak: counted.kernels.arena.bytes, products: products() };
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

/** Adds up the products of a model's own kernels, and of its adapters'. @mutates kernels */
function watchProducts(kernels: CountingKernels, { family, hidden, length, rows }: Shape): () => number {
  let sum = 0;
  const seen = rows * length * length * hidden * (family === "llama" ? 0.5 : 1); // a decoder sees the past alone
  for (const k of [kernels, kernels.adapter]) {
    const { linearForward, linearBackwardData, linearBackwardWeight, attentionForward, attentionBackward } =
      k;
    const watched: Partial<Kernels> = {
      linearForward(...call) {
        sum += call[4] * call[2].rows * call[2].cols;
        linearForward(...call);
      },
      linearBackwardData(...call) {
        sum += call[3] * call[2].rows * call[2].cols;
        linearBackwardData(...call);
      },
      linearBackwardWeight(...call) {
        sum += call[4] * call[5] * call[6];
        linearBackwardWeight(...call);
      },
      attentionForward(...call) {
        sum += 2 * seen;
        attentionForward(...call);
      },
      attentionBackward(...call) {
        sum += 5 * seen;
        attentionBackward(...call);
      },
    };
    Object.assign(k, watched);
  }
  return () => sum;
}

// SPDX-License-Identifier: Apache-2.0
/** The model's kernels, counted: operations and bytes of their shapes, and the scratch that libmeft takes for them. */
import type { ActivationArray } from "../../tensor/tensor.ts";
import type { ExpertChoice } from "../kernels/experts.ts";
import type { AttentionShape, ModelKernels } from "../kernels/model.ts";
import { reachOf } from "../reach.ts";
import { attentionBackwardScratch, attentionForwardScratch } from "./attention_scratch.ts";
import { addStream, addWork, needScratch, type Tally } from "./counts.ts";
import {
  linearBackwardDataScratch,
  linearBackwardWeightScratch,
  linearForwardScratch,
} from "./linear_scratch.ts";
import type { ProductPlace } from "./product_scratch.ts";

/** Whether an array is stored as activations are where products are made in bf16. */
function stored(array: ActivationArray): boolean {
  return array instanceof Uint16Array;
}

/** See {@linkcode ModelKernels}. @mutates tally */
export function modelKernels(tally: Tally, place: ProductPlace): Omit<ModelKernels, "compute"> {
  return {
    ...linearKernels(tally, place),
    ...attentionKernels(tally, place),
    ...elementwiseKernels(tally),
    adamwDense: () => {},
    randomNormal: () => {},
    sumSquares: () => 0,
  };
}

function linearKernels(
  tally: Tally,
  place: ProductPlace,
): Pick<ModelKernels, "linearForward" | "linearBackwardData" | "linearBackwardWeight"> {
  return {
    linearForward(y, x, { dtype: weight, rows: outputs, cols: inputs }, _bias, tokens) {
      addWork(tally, "forward", 2 * tokens * outputs * inputs);
      const layer = { inputs, outputs, tokens, weight, stored: { x: stored(x), y: stored(y) } };
      needScratch(tally, "model", linearForwardScratch(place, layer));
    },
    linearBackwardData(dx, dy, { dtype: weight, rows: outputs, cols: inputs }, tokens) {
      addWork(tally, "backward", 2 * tokens * outputs * inputs);
      const layer = { inputs, outputs, tokens, weight, stored: { x: stored(dx), y: stored(dy) } };
      needScratch(tally, "model", linearBackwardDataScratch(place, layer));
    },
    linearBackwardWeight(_dweight, _dbias, _dy, _x, tokens, outputs, inputs) {
      addWork(tally, "backward", 2 * tokens * outputs * inputs);
      needScratch(tally, "model", linearBackwardWeightScratch(place, { inputs, outputs, tokens }));
    },
  };
}

/** Products of queries with keys, and of what comes of them with values; backward is five of their size in place of two. */
function attentionKernels(
  tally: Tally,
  place: ProductPlace,
): Pick<ModelKernels, "attentionForward" | "attentionBackward"> {
  return {
    attentionForward(_o, _lse, _q, _k, _v, spans, shape) {
      addWork(tally, "attention", 4 * seenPairs(spans, shape) * shape.heads * shape.headDim);
      needScratch(tally, "model", attentionForwardScratch(place, shape));
    },
    attentionBackward(_dq, _dk, _dv, _dO, _q, _k, _v, _o, _lse, spans, shape) {
      addWork(tally, "attention", 10 * seenPairs(spans, shape) * shape.heads * shape.headDim);
      needScratch(tally, "model", attentionBackwardScratch(place, shape));
    },
  };
}

/** Pairs of a query and a key that it sees. The last query of a span sits at its last key. */
function seenPairs(spans: Int32Array, shape: AttentionShape): number {
  const { behind, ahead } = reachOf(shape);
  let pairs = 0;
  for (let s = 0; s < spans.length; s += 4) {
    const [queryBegin = 0, queryEnd = 0, keyBegin = 0, keyEnd = 0] = spans.subarray(s, s + 4);
    const [queries, keys] = [queryEnd - queryBegin, keyEnd - keyBegin];
    // What each query sees ends at its place + 1 + ahead, and begins at its place - behind, within the span.
    const first = keys - queries;
    pairs += sumWithin(first + 1 + ahead, queries, keys) - sumWithin(first - behind, queries, keys);
  }
  return pairs;
}

/** Sum of `count` whole numbers from `first` on, each brought to 0..most. */
function sumWithin(first: number, count: number, most: number): number {
  const zeros = Math.min(count, Math.max(0, -first));
  const growing = Math.min(count, Math.max(zeros, most - first)) - zeros;
  const lowest = Math.max(0, first);
  return growing * lowest + growing * (growing - 1) / 2 + (count - zeros - growing) * most;
}

function elementwiseKernels(
  tally: Tally,
): Omit<
  ModelKernels,
  | "compute"
  | "adamwDense"
  | "randomNormal"
  | "sumSquares"
  | keyof ReturnType<typeof linearKernels>
  | keyof ReturnType<typeof attentionKernels>
> {
  const stream = (...arrays: readonly (ArrayBufferView | null)[]): void => addStream(tally, ...arrays);
  return {
    embeddingForward: (y, _ids, _w, accumulate) => stream(y, accumulate ? y : null),
    embeddingBackward: (_dweight, _ids, dy) => stream(dy),
    normForward: (y, _stats, x) => stream(y, x),
    normBackward: (dx, _dnorm, dy, x, _stats, _norm, _rows, accumulate) =>
      stream(dx, dy, x, accumulate ? dx : null),
    ropeApply: (x) => stream(x, x),
    activationForward: (y, x, up) => stream(y, x, up),
    activationBackward: (dx, dup, dy, x, up) => stream(dx, dup, dy, x, up),
    crossEntropy: (_loss, logits) => stream(logits, logits),
    softcap: (x) => stream(x, x),
    expertsGather: (y) => stream(y, y),
    expertsCombine: (y, x, _places, _weights, _active, _width, accumulate) =>
      stream(x, y, accumulate ? y : null),
    expertsWeighBackward: (dx, _dweights, dy, x) => stream(dx, dy, x),
    expertsChooseBackward: (dlogits, _dweights, logits) => stream(dlogits, logits),
    expertsChoose(_weights, chosen, logits, choice) {
      stream(logits);
      evenChoice(chosen, choice);
      needScratch(tally, "model", 4 * logits.length);
    },
    expertsWeights(_weights, _chosen, logits) {
      stream(logits);
      needScratch(tally, "model", 4 * logits.length);
    },
    dropout: (y, x, _mask, accumulate) => stream(y, x, accumulate ? y : null),
    pairsScatter: (out) => stream(out),
    pairsGather: (out) => stream(out),
    add: (y, x) => stream(y, y, x),
    scaledAdd: (y, _factor, x) => stream(y, y, x),
    scale: (x) => stream(x, x),
    fixedFromFloats: (s, x) => stream(s, x),
    floatsFromFixed: (x, s) => stream(x, s),
    couple: (y, dropped, view, x, f) => stream(y, dropped, view, x, f),
    uncouple: (x, y, dropped, f) => stream(x, y, dropped, f),
  };
}

/** As many tokens for every expert as for any other: what is counted is work, not which expert does it. @mutates chosen */
function evenChoice(chosen: Int32Array, { experts, active }: ExpertChoice): void {
  for (let t = 0; t * active < chosen.length; t++) {
    const own = Int32Array.from({ length: active }, (_, k) => (t * active + k) % experts).sort();
    chosen.set(own, t * active);
  }
}

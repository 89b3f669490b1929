// SPDX-License-Identifier: Apache-2.0
/** Attention and cross-entropy over libmeft. */
import * as calls from "../../native/calls.ts";
import { writeAttentionParams } from "../../native/structs.ts";
import type { ActivationArray } from "../../tensor/tensor.ts";
import { MEFT_SEES_ALL, MEFT_SEES_PAST } from "../../native/symbols.ts";
import type { AttentionShape, ModelKernels, Sees } from "../kernels/model.ts";
import { activationOf, f32 } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";

const SEES: Readonly<Record<Sees, number>> = { past: MEFT_SEES_PAST, all: MEFT_SEES_ALL };

/** Members of {@linkcode ModelKernels} that this file gives. */
type AttentionKernels = Pick<ModelKernels, "attentionForward" | "attentionBackward" | "crossEntropy">;

/** See `meft_attention_*` and `meft_cross_entropy`. */
export function attentionKernels({ model, compute }: Lanes): AttentionKernels {
  // Activations are stored in the type of products.
  const stored = (name: string, array: ActivationArray, count: number) =>
    activationOf(compute, name, array, count);
  return {
    attentionForward(o, lse, q, k, v, spans, shape): void {
      const { queries, keys, logSums } = counts(shape);
      calls.attentionForward(
        model,
        stored("o", o, queries),
        f32("lse", lse, logSums),
        stored("q", q, queries),
        stored("k", k, keys),
        stored("v", v, keys),
        spans,
        attentionParams(shape, spans, compute),
      );
    },

    attentionBackward(dq, dk, dv, dO, q, k, v, o, lse, spans, shape): void {
      const { queries, keys, logSums } = counts(shape);
      calls.attentionBackward(
        model,
        stored("dq", dq, queries),
        stored("dk", dk, keys),
        stored("dv", dv, keys),
        stored("dO", dO, queries),
        stored("q", q, queries),
        stored("k", k, keys),
        stored("v", v, keys),
        stored("o", o, queries),
        f32("lse", lse, logSums),
        spans,
        attentionParams(shape, spans, compute),
      );
    },

    crossEntropy(loss, logits, targets, vocabulary, scale, softcap = 0): void {
      const tokens = targets.length;
      const rows = f32("logits", logits, tokens * vocabulary);
      calls.crossEntropy(model, f32("loss", loss, tokens), rows, targets, tokens, vocabulary, scale, softcap);
    },
  };
}

/** Elements of q and o, of k and v, and of lse. */
function counts(shape: AttentionShape): { queries: number; keys: number; logSums: number } {
  return {
    queries: shape.queryRows * shape.heads * shape.headDim,
    keys: shape.keyRows * shape.kvHeads * shape.headDim,
    logSums: shape.queryRows * shape.heads,
  };
}

function attentionParams(shape: AttentionShape, spans: Int32Array, compute: number): Uint8Array<ArrayBuffer> {
  return writeAttentionParams({
    compute,
    qRows: shape.queryRows,
    kRows: shape.keyRows,
    heads: shape.heads,
    kvHeads: shape.kvHeads,
    headDim: shape.headDim,
    window: shape.window,
    spanCount: spans.length / 4,
    scale: shape.scale,
    softcap: shape.softcap,
    sees: SEES[shape.sees],
  });
}

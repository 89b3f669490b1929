// SPDX-License-Identifier: Apache-2.0
/** Heads by kind: adding one is a file and a line here. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { Batch } from "../../data/batch.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Head } from "../parts.ts";
import { classificationHead } from "./classification.ts";
import type { HeadInput, HeadKindOf, HeadLoss } from "./head_call.ts";
import { lmHead } from "./lm.ts";
import { maskedLmHead } from "./masked_lm.ts";

const HEADS: { readonly [Kind in Head["kind"]]: HeadKindOf<Extract<Head, { kind: Kind }>> } = {
  lm: lmHead,
  "masked-lm": maskedLmHead,
  classification: classificationHead,
};

function kindOf(head: Head): HeadKindOf<Head> {
  return HEADS[head.kind] as HeadKindOf<Head>;
}

/** See `HeadKindOf.loss`. */
export function headLoss(
  k: Kernels,
  head: Head,
  input: HeadInput,
  targets: Batch["targets"],
  scale: number | null,
): Awaitable<HeadLoss> {
  return kindOf(head).loss(k, head, input, targets, scale);
}

/** (N,O) what a head gives, in memory of its own. */
export function headOutputs(k: Kernels, head: Head, input: HeadInput): Awaitable<Tensor> {
  const { shape, data } = kindOf(head).outputs(k, head, input);
  return andThen(k.read(data), (read) => {
    const own = k.floats(read.length);
    own.set(read);
    return { shape, data: own };
  });
}

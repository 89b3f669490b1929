// SPDX-License-Identifier: Apache-2.0
/** The head of a language model: logits of all tokens of the vocabulary for each token, and their cross-entropy. */
import { andThen } from "../../core/awaitable.ts";
import { UserError } from "../../core/errors.ts";
import { targetIds } from "../../data/batch.ts";
import { linearForward } from "../../ops/linear.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { headLossForward, headLossForwardBackward } from "../../ops/loss.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { Head, LmHead } from "../parts.ts";
import type { HeadKindOf } from "./head_call.ts";

/** See {@linkcode LmHead}. */
export const lmHead: HeadKindOf<LmHead> = {
  loss(k, { weight, bias: ownBias, constantBias, softcap }, { hidden }, targets, scale) {
    const bias = ownBias ?? constantBias ?? null;
    const ids = targetIds({ targets });
    if (scale !== null) return headLossForwardBackward(k, hidden, weight, ids, { bias, softcap, scale });
    const loss = headLossForward(k, hidden, weight, ids, { bias, softcap });
    return andThen(loss, (found) => ({ ...found, dhidden: null }));
  },
  outputs: (k, head, { hidden }) => logitsOf(k, head, hidden),
};

/** (M,V) the logits of hidden states (M,D), in the arena. */
export function logitsOf(
  k: Kernels,
  { weight, bias, constantBias, softcap }: LmHead,
  hidden: Tensor,
): Tensor {
  const logits = linearForward(k, hidden, weight, { bias: bias ?? constantBias ?? null });
  if (softcap > 0) k.softcap(logits.data, softcap);
  return logits;
}

/**
 * The head of a model that says what token comes next.
 *
 * @throws {UserError} When it has another head
 */
export function asLmHead<W>(head: Head<W>): LmHead<W> {
  if (head.kind === "lm") return head;
  throw new UserError(`The model has a ${head.kind} head: it predicts no tokens, and generates no text`);
}

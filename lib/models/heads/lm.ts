// SPDX-License-Identifier: Apache-2.0
/** The head of a language model: logits of all tokens of the vocabulary for each token, and their cross-entropy. */
import { andThen } from "../../core/awaitable.ts";
import { targetIds } from "../../data/batch.ts";
import { linearForward } from "../../ops/linear.ts";
import { headLossForward, headLossForwardBackward } from "../../ops/loss.ts";
import type { Head, LmHead } from "../parts.ts";
import type { HeadKindOf } from "./head_call.ts";

/** See {@linkcode LmHead}. */
export const lmHead: HeadKindOf<LmHead> = {
  loss(k, { weight, bias }, { hidden }, targets, scale) {
    const ids = targetIds({ targets });
    if (scale !== null) return headLossForwardBackward(k, hidden, weight, ids, { bias, scale });
    return andThen(headLossForward(k, hidden, weight, ids, { bias }), (loss) => ({ ...loss, dhidden: null }));
  },
  outputs: (k, { weight, bias }, { hidden }) => linearForward(k, hidden, weight, { bias }),
};

/**
 * The head of a model that says what token comes next.
 *
 * @throws {RangeError} When it has another head
 */
export function asLmHead<W>(head: Head<W>): LmHead<W> {
  if (head.kind === "lm") return head;
  throw new RangeError(`The model has a ${head.kind} head: it predicts no tokens, and generates no text`);
}

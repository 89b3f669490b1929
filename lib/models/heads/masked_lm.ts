// SPDX-License-Identifier: Apache-2.0
/** The head of a masked language model: logits of the tokens that are asked for, and their cross-entropy (Devlin et al., 2019). */
import { andThen } from "../../core/awaitable.ts";
import { targetIds } from "../../data/batch.ts";
import { arenaTensor } from "../../ops/arena_tensor.ts";
import { gatherRows } from "../../ops/experts.ts";
import { linearForward } from "../../ops/linear.ts";
import { headLossForward, headLossForwardBackward } from "../../ops/loss.ts";
import type { MaskedLmHead } from "../parts.ts";
import type { HeadKindOf } from "./head_call.ts";
import { headLayersBackward, headLayersForward } from "./head_layers.ts";
import { addRows } from "./token_rows.ts";

/** See {@linkcode MaskedLmHead}. Rows without a target are not computed. */
export const maskedLmHead: HeadKindOf<MaskedLmHead> = {
  loss(k, { layer, weight, bias }, input, targets, scale) {
    const { hidden } = input;
    const all = targetIds({ targets });
    const rows = Int32Array.from([...all.keys()].filter((row) => (all[row] as number) >= 0));
    const ids = Int32Array.from(rows, (row) => all[row] as number);
    const { y, residuals } = headLayersForward(k, input, [layer], gatherRows(k, hidden, rows));
    if (scale === null) {
      return andThen(headLossForward(k, y, weight, ids, { bias }), (loss) => ({ ...loss, dhidden: null }));
    }
    return andThen(headLossForwardBackward(k, y, weight, ids, { bias, scale }), ({ dhidden, ...loss }) => {
      const d = arenaTensor(k, hidden.shape);
      k.zero(d.data);
      addRows(k, d, rows, headLayersBackward(k, input, [layer], residuals, dhidden));
      return { ...loss, dhidden: d };
    });
  },
  outputs(k, { layer, weight, bias }, input) {
    return linearForward(k, headLayersForward(k, input, [layer], input.hidden).y, weight, { bias });
  },
};

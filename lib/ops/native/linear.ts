// SPDX-License-Identifier: Apache-2.0
/** Matrix products and the embedding over libmeft. */
import * as calls from "../../native/calls.ts";
import type { ModelKernels } from "../kernels/model.ts";
import { activation, f32, f32OrNull } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";
import { nativeVector, nativeWeight } from "./weights.ts";

/** Members of {@linkcode ModelKernels} that this file gives. */
type LinearKernels = Pick<
  ModelKernels,
  "linearForward" | "linearBackwardData" | "linearBackwardWeight" | "embeddingForward" | "embeddingBackward"
>;

/** See `meft_linear_*` and `meft_embedding_*`. */
export function linearKernels({ model, compute }: Lanes): LinearKernels {
  return {
    linearForward(y, x, w, bias, tokens, accumulate): void {
      const weight = nativeWeight(w);
      const added = bias && nativeVector(bias, w.rows);
      const [to, from] = [activation("y", y, tokens * w.rows), activation("x", x, tokens * w.cols)];
      calls.linearForward(
        model,
        to.data,
        from.data,
        weight.data,
        weight.descriptor,
        added?.data ?? null,
        added?.descriptor ?? null,
        tokens,
        to.dtype,
        from.dtype,
        compute,
        Number(accumulate),
      );
    },

    linearBackwardData(dx, dy, w, tokens, accumulate): void {
      const { data, descriptor } = nativeWeight(w);
      const [to, from] = [activation("dx", dx, tokens * w.cols), activation("dy", dy, tokens * w.rows)];
      calls.linearBackwardData(
        model,
        to.data,
        from.data,
        data,
        descriptor,
        tokens,
        to.dtype,
        from.dtype,
        compute,
        Number(accumulate),
      );
    },

    linearBackwardWeight(dweight, dbias, dy, x, tokens, rows, cols): void {
      const [slopes, inputs] = [activation("dy", dy, tokens * rows), activation("x", x, tokens * cols)];
      calls.linearBackwardWeight(
        model,
        f32("dweight", dweight, rows * cols),
        f32OrNull("dbias", dbias, rows),
        slopes.data,
        inputs.data,
        tokens,
        rows,
        cols,
        slopes.dtype,
        inputs.dtype,
        compute,
      );
    },

    embeddingForward(y, ids, w, accumulate): void {
      const { data, descriptor } = nativeWeight(w);
      const tokens = ids.length;
      const to = f32("y", y, tokens * w.cols);
      calls.embeddingForward(model, to, ids, data, descriptor, tokens, Number(accumulate));
    },

    embeddingBackward(dweight, ids, dy, vocabulary, hidden): void {
      const to = f32("dweight", dweight, vocabulary * hidden);
      const from = f32("dy", dy, ids.length * hidden);
      calls.embeddingBackward(model, to, ids, from, ids.length, vocabulary, hidden);
    },
  };
}

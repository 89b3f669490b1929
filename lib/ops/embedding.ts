// SPDX-License-Identifier: Apache-2.0
/** Embedding: rows of a table. */
import { assertShape } from "../core/shape.ts";
import type { Tensor, Weight } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";
import { overlaidEmbedding, overlaidEmbeddingBackward } from "./row_overlay.ts";

/**
 * Embedding: y[t] = w[ids[t]], or that added to y.
 *
 * @param ids (T) int32, each in [0, V)     @param w (V,D) as stored; rows may stand in the place of some of its own, where
 *   nothing is added to
 * @param options `addTo` (T,D) float: the rows are added to it, and it is returned
 * @returns y (T,D) float, in the arena. Backward keeps only the ids.
 * @mutates options.addTo
 * @throws When an id is outside the table, or when a shape disagrees
 */
export function embeddingForward(
  k: ModelKernels & Place,
  ids: Int32Array,
  w: Weight,
  options: { readonly addTo?: Tensor } = {},
): Tensor {
  const { addTo } = options;
  if (w.overlay) {
    if (addTo) throw new RangeError(`Rows of "${w.name}" are replaced: they cannot be added to a tensor`);
    return overlaidEmbedding(k, ids, w, w.overlay);
  }
  if (addTo) assertShape(`addTo of "${w.name}"`, addTo.shape, [ids.length, w.cols], "T,D");
  const y = addTo ?? arenaTensor(k, [ids.length, w.cols]);
  k.embeddingForward(y.data, ids, w, addTo !== undefined);
  return y;
}

/**
 * Embedding, backward: dw[ids[t]] += dy[t], in increasing t. Nothing when the table is frozen.
 *
 * @param dy (T,D) float
 * @mutates w.grad, or that of rows in the place of its own
 * @throws {RangeError} When a shape disagrees, naming the tensor and both shapes
 */
export function embeddingBackward(k: ModelKernels & Place, ids: Int32Array, w: Weight, dy: Tensor): void {
  assertShape(`dy of "${w.name}"`, dy.shape, [ids.length, w.cols], "T,D");
  if (w.overlay) overlaidEmbeddingBackward(k, ids, w.overlay, dy);
  else if (w.grad) k.embeddingBackward(w.grad, ids, dy.data, w.rows, w.cols);
}

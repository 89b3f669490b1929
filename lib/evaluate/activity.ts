// SPDX-License-Identifier: Apache-2.0
/** What a trained sparse adapter does inside the model: which experts and neurons fire for an example. */
import type { AdapterParams } from "../adapters/adapter.ts";
import { UserError } from "../core/errors.ts";
import { makeMicroBatch } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { evaluateLoss } from "../models/decoder.ts";
import type { BranchHook } from "../models/hooks.ts";
import type { Model } from "../models/model.ts";
import { inspect, type SparseActivity, type SparseResiduals } from "../ops/sparse.ts";

/**
 * Runs the model with its adapter over one example and watches the adapter.
 *
 * @param example Its index in the data set, from 0
 * @returns One activity a layer, over the tokens of the example
 * @throws {UserError} When the adapter is not a sparse one
 */
export async function inspectExample(
  model: Model,
  adapter: AdapterParams,
  data: Dataset,
  example: number,
): Promise<SparseActivity[]> {
  const { kind } = adapter.adapter;
  if (kind !== "sparse") {
    throw new UserError(
      `The adapter is of the kind ${kind}: only a sparse one has neurons that fire for some tokens`,
    );
  }
  const attached = adapter.attach(model.kernels);
  const layers: SparseActivity[] = [];
  const ffn = watched(attached.hooks.ffn as BranchHook<SparseResiduals>, layers);
  const { batch } = makeMicroBatch(data, Int32Array.of(example));
  await evaluateLoss(attached.model, batch, { ...attached.hooks, ffn });
  return layers;
}

/** A hook that copies what happened while it is still in the arena. @mutates layers */
function watched(hook: BranchHook<SparseResiduals>, layers: SparseActivity[]): BranchHook<SparseResiduals> {
  return {
    ...hook,
    async forward(layer, h, y) {
      const residuals = await hook.forward(layer, h, y);
      layers[layer] = inspect(residuals);
      return residuals;
    },
  };
}

// SPDX-License-Identifier: Apache-2.0
/** What a trained sparse adapter does inside the model: which experts and neurons fire for an example. */
import { attachAdapter } from "../adapters/attach.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import { UserError } from "../core/errors.ts";
import type { Batch } from "../data/batch.ts";
import { makeMicroBatch, sequentialBatches } from "../data/batches.ts";
import type { Dataset } from "../data/dataset.ts";
import { evaluateLoss } from "../models/engine/pass.ts";
import type { Model } from "../models/model.ts";
import type { SparseActivity } from "../ops/sparse.ts";

/**
 * Runs the model with its adapter over one example and watches the adapter.
 *
 * @param example Its index in the data set, from 0
 * @returns One activity for each layer that has neurons, over the tokens of the example
 * @throws {UserError} When the adapter is not a sparse one
 */
export async function inspectExample(
  model: Model,
  adapter: AdapterParams,
  data: Dataset,
  example: number,
): Promise<SparseActivity[]> {
  const layers: SparseActivity[] = [];
  const { batch } = makeMicroBatch(data, Int32Array.of(example));
  await watchBatch(model, adapter, batch, (layer, activity) => layers[layer] = activity);
  return layers.filter(() => true); // frozen layers have left holes
}

/** What one layer of a sparse adapter did over a data set. */
export interface DatasetLayerActivity {
  /** (N): tokens that the router sent to each expert. */
  readonly expertLoad: Float64Array;
  /** (R): tokens for which each neuron fired; 0 for a dead one. */
  readonly neuronTokens: Float64Array;
}

/** What a sparse adapter did over a data set. */
export interface DatasetActivity {
  readonly layers: readonly DatasetLayerActivity[];
  /** Tokens that were looked at. */
  readonly tokens: number;
  /** Mean over layers and tokens of the neurons that fired for a token: at most K. */
  readonly neuronsPerToken: number;
  /** Share of all neurons that fired for no token. */
  readonly deadNeurons: number;
  /** Share of all experts that the router sent no token to. */
  readonly idleExperts: number;
  /** Mean over layers of the busiest expert's tokens over those of an expert on average: 1 is an even load. */
  readonly loadImbalance: number;
}

/**
 * Runs the model with its adapter over a data set, in order, and counts what fires.
 *
 * @param options `examples`: at most this many, from the first (default all); `microBatchSize`: computed at once (default 16)
 * @throws {UserError} When the adapter is not a sparse one
 */
export async function inspectDataset(
  model: Model,
  adapter: AdapterParams,
  data: Dataset,
  options: { readonly examples?: number; readonly microBatchSize?: number } = {},
): Promise<DatasetActivity> {
  const { examples, microBatchSize = 16 } = options;
  const neurons = adapter.adapter.selection?.neurons ?? 0;
  const found: DatasetLayerActivity[] = [];
  let [tokens, pairs] = [0, 0];
  for (const { batch } of sequentialBatches(data, microBatchSize, examples)) {
    await watchBatch(model, adapter, batch, (layer, { expertLoad, pairNeurons }) => {
      const counts = found[layer] ??= {
        expertLoad: new Float64Array(expertLoad.length),
        neuronTokens: new Float64Array(neurons),
      };
      expertLoad.forEach((load, expert) => counts.expertLoad[expert] = counts.expertLoad[expert]! + load);
      for (const neuron of pairNeurons) counts.neuronTokens[neuron] = counts.neuronTokens[neuron]! + 1;
      pairs += pairNeurons.length;
    });
    tokens += batch.ids.length;
  }
  const layers = found.filter(() => true); // frozen layers have left holes
  return { layers, tokens, neuronsPerToken: pairs / layers.length / tokens, ...summarize(layers) };
}

function summarize(
  layers: readonly DatasetLayerActivity[],
): Pick<DatasetActivity, "deadNeurons" | "idleExperts" | "loadImbalance"> {
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const zeros = (counts: Float64Array) => counts.filter((count) => count === 0).length / counts.length;
  const imbalance = (load: Float64Array) => load.reduce((a, b) => Math.max(a, b), 0) / mean([...load]);
  return {
    deadNeurons: mean(layers.map(({ neuronTokens }) => zeros(neuronTokens))),
    idleExperts: mean(layers.map(({ expertLoad }) => zeros(expertLoad))),
    loadImbalance: mean(layers.map(({ expertLoad }) => imbalance(expertLoad))),
  };
}

/** Runs one batch and tells of every layer's activity. */
async function watchBatch(
  model: Model,
  adapter: AdapterParams,
  batch: Batch,
  onLayer: (layer: number, activity: SparseActivity) => void,
): Promise<void> {
  const { kind, selection } = adapter.adapter;
  if (selection === undefined) {
    throw new UserError(
      `The adapter is of the kind ${kind}: only a sparse one has neurons that fire for some tokens`,
    );
  }
  const attached = attachAdapter(model, adapter, model.kernels, { onFired: onLayer });
  await evaluateLoss(attached.model, batch, attached.hooks);
}

// SPDX-License-Identifier: Apache-2.0
/** What a run will need, by class, before anything is allocated. */
import type { ActivationPolicyName } from "../activations/registry.ts";
import type { Adapter, AdapterSizes } from "../adapters/adapter.ts";
import type { Model, ModelConfig } from "../models/model.ts";
import type { MemoryClass } from "../native/ledger.ts";
import { lossChunkRows } from "../ops/loss.ts";
import type { Optimizer } from "../optim/optimizer.ts";

/** Host bytes by class. */
export interface MemoryPrediction {
  /** `activations` is an estimate from the shapes; the others are exact, `gradients` an upper bound. */
  readonly bytes: Readonly<Partial<Record<MemoryClass, number>>>;
  readonly totalBytes: number;
  /** Elements of the adapter, and those of them that are trained. */
  readonly adapterParameters: number;
  readonly trainedParameters: number;
  /** Elements of the model. */
  readonly modelParameters: number;
  /** Adapter parameters over the model's. */
  readonly adapterShare: number;
  /** Persistent bytes of adapter and optimizer for each trained parameter. */
  readonly bytesPerTrainedParameter: number;
}

/** The settings that memory depends on. */
interface Sizes {
  readonly batch: { readonly size: number; readonly micro: number; readonly seqLen: number };
  readonly activations: ActivationPolicyName;
}

/** Predicts the memory of a run. */
export function predictMemory(
  model: Model,
  adapter: Adapter,
  optimizer: Optimizer,
  { batch, activations }: Sizes,
): MemoryPrediction {
  const sizes = adapter.sizes(model, batch.size * batch.seqLen);
  const { parameters, parameterBytes, gradientBytes } = sizes;
  const trained = parameters.filter((parameter) => parameter.trained);
  const count = (list: typeof parameters): number =>
    list.reduce((sum, parameter) => sum + parameter.count, 0);
  const optimizerBytes = trained.reduce((sum, parameter) => sum + optimizer.bytes(parameter), 0);
  const bytes = {
    weights: model.checkpoint.files.reduce((sum, file) => sum + file.fileBytes, 0),
    parameters: parameterBytes,
    optimizer: optimizerBytes,
    gradients: gradientBytes,
    activations: activationBytes(model, batch.micro * batch.seqLen, activations, sizes),
  };
  const modelParameters = [...model.checkpoint.tensors.values()]
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
  return {
    bytes,
    totalBytes: Object.values(bytes).reduce((sum, value) => sum + value, 0),
    adapterParameters: count(parameters),
    trainedParameters: count(trained),
    modelParameters,
    adapterShare: count(parameters) / modelParameters,
    bytesPerTrainedParameter: (parameterBytes + optimizerBytes) / Math.max(1, count(trained)),
  };
}

/** Floats one block keeps for a token: inputs, norms, queries, keys, values and the two wide products. */
function keptFloatsPerToken(config: ModelConfig): number {
  const { hiddenSize, intermediateSize, headDim, numAttentionHeads, numKeyValueHeads } = config;
  const attention = headDim * (2 * numAttentionHeads + 2 * numKeyValueHeads) + numAttentionHeads;
  return 4 * hiddenSize + attention + 2 * intermediateSize + 2;
}

/** Stored: every block's residuals. Recomputed: every block's input, and one block's residuals at a time. */
function activationBytes(
  model: Model,
  tokens: number,
  policy: ActivationPolicyName,
  { keptFloatsPerToken: keptByAdapter, keptWhenRecomputed = 0 }: AdapterSizes,
): number {
  const { config, kernels } = model;
  const kept = keptFloatsPerToken(config) + keptByAdapter;
  const layers = config.numHiddenLayers;
  // Gradients of a block under way are about as wide as what it keeps.
  const perToken = policy === "store"
    ? (layers + 1) * kept
    : layers * (config.hiddenSize + keptWhenRecomputed) + 2 * kept;
  const logits = Math.min(tokens, lossChunkRows(kernels, config.vocabSize)) * config.vocabSize;
  return 4 * (tokens * perToken + logits);
}

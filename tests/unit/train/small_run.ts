// SPDX-License-Identifier: Apache-2.0
/** A tiny checkpoint, a tiny data set and short runs, for the tests of training. */
import { nextIntegerBelow, randomStream } from "../../../lib/core/rng.ts";
import type { Dataset } from "../../../lib/data/dataset.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { sparse } from "../../../lib/methods/methods.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import type { RunOptions } from "../../../lib/train/plan.ts";
import { parameterArrays } from "../../../lib/train/checkpoint_tensors.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import type { Parameter } from "../../../lib/optim/parameters.ts";

/** Hidden size 24, two layers, 61 tokens. */
export function smallModel(kernels: Kernels = referenceKernels()): Model {
  return openCheckpoint(modelFixture("llama3_tied").dir, kernels);
}

/** The small model with its first layer once more on top. */
export function threeLayers(kernels: Kernels = referenceKernels()): Model {
  const model = smallModel(kernels);
  const [stack] = model.parts.stacks;
  return {
    ...model,
    [Symbol.dispose]: () => model[Symbol.dispose](),
    config: { ...model.config, numHiddenLayers: 3 },
    parts: { ...model.parts, stacks: [{ ...stack, layers: [...stack.layers, ...stack.layers.slice(0, 1)] }] },
  };
}

/** `count` examples of 3 to 9 random tokens; the first of each is no target, nor is the second of every other one. */
export function smallData(count = 12, seed = 7): Dataset {
  const random = randomStream(seed, 0);
  const lengths = Array.from({ length: count }, () => 3 + nextIntegerBelow(random, 7));
  const offsets = Float64Array.from([
    0,
    ...lengths.map((_, i) => lengths.slice(0, i + 1).reduce((a, b) => a + b)),
  ]);
  const tokens = offsets[count] as number;
  const lossMask = new Uint8Array(tokens).fill(1);
  lengths.forEach((_, i) => {
    const start = offsets[i] as number;
    lossMask[start] = 0;
    if (i % 2 === 1) lossMask[start + 1] = 0;
  });
  const targets = lossMask.reduce((sum, mask) => sum + mask, 0);
  return {
    ids: Int32Array.from({ length: tokens }, () => nextIntegerBelow(random, 61)),
    lossMask,
    offsets,
    files: ["small.jsonl"],
    fileOf: new Uint32Array(count),
    lineOf: Uint32Array.from({ length: count }, (_, i) => i + 1),
    cutOf: new Uint32Array(count),
    seqLen: 12,
    report: {
      warnings: [],
      rowsRead: count,
      rowsUsed: count,
      badRows: [],
      truncatedRows: 0,
      cutTokens: 0,
      tokens,
      targets,
    },
  };
}

/** A sparse adapter small enough that most of its rows idle for several steps. */
export const SMALL_SPARSE = { neurons: 48, experts: 12, activeExperts: 2, topK: 3 } as const;

/** A run of seven steps of four rows. */
export function smallOptions(options: RunOptions = {}): RunOptions {
  return {
    method: sparse(SMALL_SPARSE),
    optimizer: adamw({ lr: 0.02 }),
    batch: { size: 4, micro: 2, seqLen: 12 },
    steps: 7,
    ...options,
  };
}

/** Every bit of all parameters. */
export function parameterBytes(parameters: readonly Parameter[]): Map<string, Uint8Array> {
  return new Map(
    parameterArrays(parameters).map(({ name, data }) => [
      name,
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice(),
    ]),
  );
}

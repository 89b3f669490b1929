// SPDX-License-Identifier: Apache-2.0
/** Loads a Hugging Face checkpoint folder as it is. */
import { ValidationError } from "../core/errors.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { openWeights } from "../storage/weights.ts";
import { indexCheckpoint } from "../tensor/checkpoint_index.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Weight } from "../tensor/tensor.ts";
import { buildParts } from "./families/registry.ts";
import { matchCheckpoint } from "./match_checkpoint.ts";
import type { Model } from "./model.ts";
import { readConfig } from "./read_config.ts";
import { createRopeCache } from "./rope.ts";

/**
 * Loads a model: reads its configuration, checks every tensor, maps its files. Weights stay in the checkpoint's dtype and
 * are not read before they are used, except a head that is stored beside the embedding it is said to be tied to: the two are
 * compared.
 *
 * @param dir Folder with `config.json`, `*.safetensors` and, if wanted, `generation_config.json`
 * @throws {ValidationError} Listing everything that is wrong: missing or malformed files, missing, unknown or unsupported
 *   configuration fields, missing, surplus or wrongly shaped tensors
 */
export function openCheckpoint(dir: string, kernels: Kernels): Model {
  const problems: string[] = [];
  const warnings: string[] = [];
  const read = readConfig(dir, problems, warnings);
  const stored = indexCheckpoint(dir, problems, warnings);
  const matched = read === null || stored.tensors.size === 0
    ? null
    : matchCheckpoint(read, stored, kernels, { problems, warnings });
  if (matched === null || problems.length > 0) throw new ValidationError(`Model ${dir}`, problems);

  const { config, checkpoint } = matched;
  using owned = new DisposableStack();
  const source = owned.use(openWeights(kernels));
  const parts = buildParts(
    config,
    (name): Weight => source.load(checkpoint.tensors.get(name) as TensorEntry),
  );
  const rope = owned.use(createRopeCache(kernels, config));
  const files = owned.move();
  return {
    dir,
    config,
    parts,
    kernels,
    checkpoint,
    rope,
    warnings,
    [Symbol.dispose]: () => files.dispose(),
  };
}

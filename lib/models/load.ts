// SPDX-License-Identifier: Apache-2.0
/** Loads a Hugging Face checkpoint folder as it is. */
import { ValidationError } from "../core/errors.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { openWeights } from "../storage/weights.ts";
import { indexCheckpoint } from "../tensor/checkpoint_index.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Weight } from "../tensor/tensor.ts";
import { buildParts } from "./families/registry.ts";
import { type VocabularyChoice, withVocabulary } from "./grow_vocabulary.ts";
import type { HeadConfig } from "./heads/head_config.ts";
import { matchCheckpoint } from "./match_checkpoint.ts";
import type { Model } from "./model.ts";
import { readConfig } from "./read_config.ts";
import { createRopeCaches } from "./rope.ts";

/** Choices of {@linkcode openCheckpoint}. */
export interface OpenCheckpointOptions {
  /** The head that is wanted, in the place of the checkpoint's own. One that the checkpoint lacks has to be trained. */
  readonly head?: HeadConfig | undefined;
  /** More tokens than the checkpoint has, or other tables of them. Default: its own. */
  readonly vocabulary?: VocabularyChoice | undefined;
}

/**
 * Loads a model: reads its configuration, checks every tensor, maps its files. Weights stay in the checkpoint's dtype and
 * are not read before they are used, except a head that is stored beside the embedding it is said to be tied to: the two are
 * compared.
 *
 * @param dir Folder with `config.json`, `*.safetensors` and, if wanted, `generation_config.json`
 * @throws {ValidationError} Listing everything that is wrong: missing or malformed files, missing, unknown or unsupported
 *   configuration fields, missing, surplus or wrongly shaped tensors
 */
export function openCheckpoint(dir: string, kernels: Kernels, options: OpenCheckpointOptions = {}): Model {
  const problems: string[] = [];
  const warnings: string[] = [];
  const read = readConfig(dir, problems, warnings, options.head);
  const stored = indexCheckpoint(dir, problems, warnings);
  const matched = read === null || stored.tensors.size === 0
    ? null
    : matchCheckpoint(read, stored, kernels, { problems, warnings });
  if (matched === null || problems.length > 0) throw new ValidationError(`Model ${dir}`, problems);

  const { fresh } = matched;
  const { config, checkpoint, grown } = withVocabulary(
    matched.config,
    matched.checkpoint,
    options.vocabulary ?? {},
    problems,
  );
  if (problems.length > 0) throw new ValidationError(`Model ${dir}`, problems);
  using owned = new DisposableStack();
  const source = owned.use(openWeights(kernels));
  const parts = buildParts(
    config,
    (name, rows, cols): Weight =>
      fresh.has(name)
        ? { name, dtype: kernels.float, rows: rows ?? 1, cols, data: null, mapped: null, grad: null }
        : source.load(checkpoint.tensors.get(name) as TensorEntry),
  );
  const rope = owned.use(createRopeCaches(kernels, parts.rotary));
  const files = owned.move();
  return {
    dir,
    config,
    parts,
    kernels,
    checkpoint,
    rope,
    fresh,
    ...(grown && { vocabulary: { ...grown, added: [], tokenizer: null } }),
    warnings,
    [Symbol.dispose]: () => files.dispose(),
  };
}

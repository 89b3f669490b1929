// SPDX-License-Identifier: Apache-2.0
/** What a model family is: everything of a model that is its own, in one file. */
import type { ConfigFields } from "../config_fields.ts";
import type { HeadKind } from "../heads/head_config.ts";
import type { ModelConfig } from "../model.ts";
import type { ModelParts, TakeTensor } from "../parts.ts";

/** A tensor that modules share, and that a checkpoint may hold under the name of each, or of some. */
export interface SharedTensor {
  /** What `build` takes. */
  readonly own: string;
  /**
   * All its names, in the order in which transformers looks for it: the first that is stored counts. Where the head is not tied,
   * the first alone is what transformers reads.
   */
  readonly names: readonly string[];
  /** What becomes of one that differs: transformers passes over it in silence, or computes otherwise than shared. */
  readonly differing: "passed over" | "refused";
}

/** A model family, with the record of what its configurations say. */
export interface Family<Config extends ModelConfig = ModelConfig> {
  /** `model_type` of its configurations. */
  readonly modelType: string;
  /** Kinds of heads by class, as in `architectures`; the first is what `model_type` stands for. */
  readonly heads: Readonly<Record<string, HeadKind>>;
  /** What its `config.json` calls fields that most families call otherwise: `n_embd` by `hidden_size`. Default none. */
  readonly fieldNames?: Readonly<Record<string, string>>;
  /**
   * What stands in names of checkpoints, and what `build` has in its place: transformers renames what it reads, and PEFT knows
   * the new names alone. In this order. Default none.
   */
  readonly storedNames?: readonly (readonly [stored: string, own: string])[];
  /** Tensors that checkpoints may hold under several names. Default none. */
  readonly sharedTensors?: readonly SharedTensor[];
  /** Names of tensors that only other heads read: after the base model's prefix, or whole outside of it. Default none. */
  readonly unread?: RegExp;
  /** @mutates fields: what was read, and problems. The result counts only when there are none */
  readConfig(fields: ConfigFields): Config;
  /** The configuration of a checkpoint that has certain tensors, where it may lack some. Default: as it was read. */
  stored?(config: Config, has: (name: string) => boolean): Config;
  /**
   * The model of a configuration. Tensors are taken once each, by their names in the checkpoint of the whole model. A tied head
   * is the embedding itself.
   */
  build<W>(config: Config, take: TakeTensor<W>): ModelParts<W>;
  /** Modules that transformers has beside those of tensors, which PEFT's patterns may match: `model.rotary_emb`. */
  bareModules(config: Config): readonly string[];
}

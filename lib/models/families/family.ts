// SPDX-License-Identifier: Apache-2.0
/** What a model family is: everything of a model that is its own, in one file. */
import type { ConfigFields } from "../config_fields.ts";
import type { HeadKind } from "../heads/head_config.ts";
import type { ModelConfig } from "../model.ts";
import type { ModelParts, TakeTensor } from "../parts.ts";

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
  /**
   * Names of one tensor that transformers ties, and that may be stored under any: the first that is counts. `build` takes the
   * last; where the head is not tied, the first alone is what transformers reads. Default none.
   */
  readonly sameTensors?: readonly (readonly [first: string, own: string])[];
  /** Names of tensors that only other heads read: after the base model's prefix, or whole outside of it. Default none. */
  readonly unread?: RegExp;
  /**
   * Names under which checkpoints may hold a tensor once more, or in its place, by the name that `build` takes: embeddings that
   * several modules share. One that differs is refused. Default none.
   */
  readonly copies?: Readonly<Record<string, string>>;
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

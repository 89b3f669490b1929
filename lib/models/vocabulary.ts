// SPDX-License-Identifier: Apache-2.0
/** The tables of a model's vocabulary: what tokens enter by and, in a model that gives tokens, what gives them; or one that is both. */
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Weight } from "../tensor/tensor.ts";
import { givesTokens } from "./heads/head_config.ts";
import type { Model, ModelConfig } from "./model.ts";
import { allTensors } from "./part_tensors.ts";
import { embeddingName, headNames } from "./tensor_names.ts";

/** The tables of a vocabulary, by the names of their tensors. */
export interface VocabularyTables {
  /** (V,E). */
  readonly embedding: string;
  /** (V,D); null of a head that gives no tokens. */
  readonly head: string | null;
  /** Whether the head is the embedding: then the checkpoint need not have the head's own tensor. */
  readonly tied: boolean;
}

/** The tables of a model; null where it is given no tokens. */
export function vocabularyTables(config: ModelConfig): VocabularyTables | null {
  const embedding = embeddingName(config);
  if (embedding === null) return null;
  const head = givesTokens(config.head) ? headNames(config)[0] as string : null;
  return { embedding, head, tied: head !== null && config.tieWordEmbeddings };
}

/** Name of the tensor that a tied head would have of its own; null where the head is not tied. */
export function tiedHead(config: ModelConfig): string | null {
  return config.tieWordEmbeddings ? vocabularyTables(config)?.head ?? null : null;
}

/** The weights of a model by the names of their tensors: of a tied head, under its own name too, the embedding. */
export function weightsByName({ config, parts }: Pick<Model, "config" | "parts">): Map<string, Weight> {
  const weights = new Map(allTensors(parts).map((weight) => [weight.name, weight]));
  const head = tiedHead(config);
  if (head !== null) {
    weights.set(head, { ...weights.get(embeddingName(config) as string) as Weight, name: head });
  }
  return weights;
}

/** The tensor that holds a weight's values: of a tied head, the embedding's. Absent where the checkpoint lacks it. */
export function storedTensor(
  { config, checkpoint: { tensors } }: Pick<Model, "config" | "checkpoint">,
  name: string,
): TensorEntry | undefined {
  return tensors.get(name === tiedHead(config) ? embeddingName(config) as string : name);
}

// SPDX-License-Identifier: Apache-2.0
/** Names and shapes of a model's tensors in its checkpoint, all from what its family builds. */
import { buildParts, familyOf } from "./families/registry.ts";
import type { ModelConfig } from "./model.ts";
import { allTensors, embeddingOf, headTensors } from "./part_tensors.ts";
import { type Branch, branchOf, lastStack, layersOf, type ModelParts, type TensorShape } from "./parts.ts";

/** The model of a configuration, by names and shapes. */
export function namedParts(config: ModelConfig): ModelParts<TensorShape> {
  return buildParts(config, (name, rows, cols, stored) => ({ name, rows, cols, stored }));
}

/** A tensor's shape in the checkpoint. */
export function storedShape({ rows, cols, stored }: Omit<TensorShape, "name">): readonly number[] {
  return stored ?? (rows === null ? [cols] : [rows, cols]);
}

/** What checkpoints call a tensor: transformers, and families here, call some otherwise. */
export function storedName(config: ModelConfig, name: string): string {
  const { storedNames = [], sharedTensors = [] } = familyOf(config);
  const shared = config.tieWordEmbeddings ? undefined : sharedTensors.find(({ own }) => own === name);
  const [first = name] = shared?.names ?? [];
  return storedNames.reduce((text, [stored, own]) => text.replace(own, stored), first);
}

/** The reverse of {@linkcode storedName}. */
export function ownName(config: ModelConfig, stored: string): string {
  const { storedNames = [] } = familyOf(config);
  return storedNames.reduce((text, [stored, own]) => text.replace(stored, own), stored);
}

/** Name of the embedding's tensor; null where there is none. */
export function embeddingName(config: ModelConfig): string | null {
  return embeddingOf(lastStack(buildParts(config, (name) => name)));
}

/** The head's tensors; with tied embeddings a copy of the embedding may be stored as the first. */
export function headShapes(config: ModelConfig): TensorShape[] {
  return headTensors(namedParts({ ...config, tieWordEmbeddings: false }).head);
}

/** Their names. */
export function headNames(config: ModelConfig): string[] {
  return headShapes(config).map(({ name }) => name);
}

/** Elements of all weights, each once. */
export function countedElements(config: ModelConfig): number {
  let count = 0;
  buildParts(config, (_name, rows, cols) => count += (rows ?? 1) * cols);
  return count;
}

/**
 * Names of the modules of the sublayers that adapters on a branch are beside, by layer.
 *
 * @throws {RangeError} When a layer has none
 */
export function sublayerModules(config: ModelConfig, branch: Branch): string[] {
  return layersOf(buildParts(config, (name) => name)).map((layer, number) => {
    const part = layer.find((part) => branchOf(part) === branch);
    if (!part) throw new RangeError(`Layer ${number} of a ${config.modelType} has no ${branch} sublayer`);
    return part.module;
  });
}

/** Name of the module that has a tensor: `model.layers.0.self_attn.q_proj` of its weight or its bias. */
export function moduleOf(tensorName: string): string {
  return tensorName.slice(0, tensorName.lastIndexOf("."));
}

/** What all names but the head's begin with, and those of a saved base model lack: `model.`; nothing where there is none. */
export function basePrefix(config: ModelConfig): string {
  const parts = buildParts(config, (name) => name);
  const head = new Set(headTensors(parts.head));
  const embeddings = new Set(parts.stacks.map((stack) => embeddingOf(stack)));
  const names = allTensors(parts).filter((name) => embeddings.has(name) || !head.has(name));
  const prefix = `${names[0]?.split(".", 1)[0]}.`;
  return names.every((name) => name.startsWith(prefix)) ? prefix : "";
}

// SPDX-License-Identifier: Apache-2.0
/** Tensors that a checkpoint holds under several names: modules share one, each of which older writers stored. */
import type { CheckpointIndex } from "../tensor/checkpoint_index.ts";
import { sameValues } from "../tensor/same_values.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import type { Notes } from "./config_fields.ts";
import type { SharedTensor } from "./families/family.ts";
import { familyOf } from "./families/registry.ts";
import type { ModelConfig } from "./model.ts";

/** Every name of a shared tensor, with what it is a name of. */
export type SharedNames = ReadonlyMap<string, SharedTensor>;

/** Those of a model. @param isOwn Whether the model asks for a tensor of that name: one of its own is no other's */
export function sharedNames(config: ModelConfig, isOwn: (name: string) => boolean): SharedNames {
  const { sharedTensors = [] } = familyOf(config);
  return new Map(sharedTensors.flatMap((shared) => {
    const names = shared.names.filter((name) => name === shared.own || !isOwn(name));
    return names.length < 2 ? [] : names.map((name) => [name, shared] as const);
  }));
}

/**
 * Without the tensors that are a shared one once more: of its names in their order, the first that is stored counts.
 *
 * @param wholeName From a stored name to that in the whole model
 * @mutates notes: tensors that differ from what they should be copies of
 */
export function withoutCopies(
  stored: CheckpointIndex,
  shared: SharedNames,
  wholeName: (stored: string) => string,
  notes: Notes,
): CheckpointIndex {
  const byName = Map.groupBy(
    [...stored.tensors.values()].filter(({ name }) => shared.has(wholeName(name))),
    ({ name }) => wholeName(name),
  );
  const copies = new Set<string>();
  for (const tensor of new Set(shared.values())) {
    const [[first] = [], ...others] = tensor.names.flatMap((name) => {
      const found = shared.get(name) === tensor ? byName.get(name) : undefined;
      return found === undefined ? [] : [found];
    });
    for (const copy of others.flat()) {
      copies.add(copy.name);
      if (first === undefined || isSame(first, copy)) continue;
      if (tensor.differing === "refused") {
        notes.problems.push(
          `Tensor "${wholeName(copy.name)}" differs from "${tensor.own}", which it should be a copy of`,
        );
      } else {
        notes.warnings.push(
          `Tensor "${copy.name}" is passed over, as transformers does: "${first.name}" stands in its place, and differs`,
        );
      }
    }
  }
  if (copies.size === 0) return stored;
  const kept = (tensors: ReadonlyMap<string, TensorEntry>) =>
    new Map([...tensors].filter(([name]) => !copies.has(name)));
  // In the files neither: they would be stale once what they are copies of has changed.
  const files = stored.files.map((file) => ({ ...file, tensors: kept(file.tensors) }));
  return { files, tensors: kept(stored.tensors) };
}

function isSame(a: TensorEntry, b: TensorEntry): boolean {
  return a.shape.join() === b.shape.join() && sameValues(a, b);
}

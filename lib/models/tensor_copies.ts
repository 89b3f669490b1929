// SPDX-License-Identifier: Apache-2.0
/** Tensors that a checkpoint holds under several names: modules that share one, each of which older writers stored. */
import { sameValues } from "../tensor/same_values.ts";
import type { TensorEntry } from "../tensor/safetensors.ts";
import { familyOf } from "./families/registry.ts";
import type { ModelConfig } from "./model.ts";

/** Names of copies, by the names of what they are copies of. Those that the model asks for by themselves are none. */
export type Copies = ReadonlyMap<string, string>;

/** Those of a model. @param isOwn Whether the model has a tensor of that name */
export function copiesOf(config: ModelConfig, isOwn: (name: string) => boolean): Copies {
  const { copies = {} } = familyOf(config);
  return new Map(Object.entries(copies).filter(([copy, of]) => !isOwn(copy) && isOwn(of)));
}

/** Those that stand in the place of what is not there: the first of each. @param has Whether the checkpoint has a tensor */
export function copiesInPlace(copies: Copies, has: (name: string) => boolean): Copies {
  const inPlace = new Map<string, string>();
  for (const [copy, of] of copies) {
    if (has(copy) && !has(of) && ![...inPlace.values()].includes(of)) inPlace.set(copy, of);
  }
  return inPlace;
}

/** Takes copies out. @mutates tensors; problems: copies that are others */
export function dropCopies(tensors: Map<string, TensorEntry>, copies: Copies, problems: string[]): void {
  for (const [name, of] of copies) {
    const [copy, original] = [tensors.get(name), tensors.get(of)];
    if (copy === undefined || original === undefined) continue;
    tensors.delete(name);
    const isSame = copy.shape.join() === original.shape.join() && sameValues(original, copy);
    if (!isSame) problems.push(`Tensor "${name}" differs from "${of}", which it should be a copy of`);
  }
}

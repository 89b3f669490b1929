// SPDX-License-Identifier: Apache-2.0
/** Keys and values of one sequence whose tokens are computed in two parts: exact, because attention is causal. */
import { arenaActivation, arenaLike } from "../../ops/arena_tensor.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { type Activation, numel } from "../../tensor/tensor.ts";
import type { KeyValues } from "../sublayers/context.ts";

/** How the two parts of one sequence share keys and values, which the second sees and the first is to be told of. */
export interface SharedKeys {
  /** Of the first part: its keys and values are to be seen by the second. */
  readonly publish: (layer: number, fresh: KeyValues) => KeyValues;
  /** Of the second part: those of the first, then its own. */
  readonly join: (layer: number, fresh: KeyValues) => KeyValues;
  /** Of the second part's backward: keeps the gradients of the first's, and returns those of its own. */
  readonly leave: (layer: number, gradients: KeyValues) => KeyValues;
  /** Of the first part's backward: adds what the second left. @mutates gradients */
  readonly collect: (layer: number, gradients: KeyValues) => KeyValues;
}

/**
 * Room for sharing. A layer's gradients are left and collected before the next layer's are left.
 *
 * @param shapes (tokens,Hkv,Dh) of each layer, `tokens` those of the first part
 * @param keep Whether the first part's keys must be copied because its activations do not last until the second needs them
 */
export function createSharedKeys(
  k: Kernels,
  second: Kernels,
  shapes: readonly (readonly number[])[],
  keep: boolean,
): SharedKeys {
  const room = (shape: readonly number[]): KeyValues => {
    return { keys: arenaActivation(k, shape), values: arenaActivation(k, shape) };
  };
  const kept = keep ? shapes.map(room) : null;
  const counts = shapes.map(numel);
  const left = room([Math.max(...counts)]); // of one layer at a time
  const published: KeyValues[] = [];
  let leftLayer: number | null = null;
  const joined = (first: Activation, own: Activation): Activation => {
    const [[tokens = 0], [ownTokens = 0, ...rest]] = [first.shape, own.shape];
    const both = arenaLike(second, own, [tokens + ownTokens, ...rest]);
    second.copy(both.data.subarray(0, first.data.length), first.data);
    second.copy(both.data.subarray(first.data.length), own.data);
    return both;
  };
  /** Rows of the first part into `to`; @returns the others. */
  const cut = (layer: number, to: Activation, all: Activation): Activation => {
    const [[tokens = 0] = [], [allTokens = 0, ...rest]] = [shapes[layer], all.shape];
    const count = counts[layer] as number;
    second.copy(to.data.subarray(0, count), all.data.subarray(0, count));
    return { shape: [allTokens - tokens, ...rest], data: all.data.subarray(count) };
  };
  return {
    publish(layer, fresh) {
      const lasting = kept?.[layer];
      if (lasting) {
        k.copy(lasting.keys.data, fresh.keys.data);
        k.copy(lasting.values.data, fresh.values.data);
      }
      published[layer] = lasting ?? fresh;
      return fresh;
    },
    join(layer, fresh) {
      const first = published[layer];
      if (!first) throw new Error(`The first part has not come to layer ${layer}`);
      return { keys: joined(first.keys, fresh.keys), values: joined(first.values, fresh.values) };
    },
    leave(layer, gradients) {
      if (leftLayer !== null) {
        throw new Error(`Gradients of the keys of layer ${leftLayer} were not collected`);
      }
      leftLayer = layer;
      return {
        keys: cut(layer, left.keys, gradients.keys),
        values: cut(layer, left.values, gradients.values),
      };
    },
    collect(layer, gradients) {
      if (leftLayer !== layer) throw new Error(`The second part has not come back to layer ${layer}`);
      leftLayer = null;
      k.add(gradients.keys.data, left.keys.data.subarray(0, counts[layer]));
      k.add(gradients.values.data, left.values.data.subarray(0, counts[layer]));
      return gradients;
    },
  };
}

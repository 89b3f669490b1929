// SPDX-License-Identifier: Apache-2.0
/** Keys and values of one sequence whose tokens are computed in two halves: exact, because attention is causal. */
import { arenaActivation, arenaLike } from "../ops/arena_tensor.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Activation } from "../tensor/tensor.ts";
import type { ModelConfig } from "./model.ts";
import type { KeyValues } from "./step.ts";

/** How the two halves of one sequence share keys and values, which the second sees and the first is to be told of. */
export interface SharedKeys {
  /** Of the first half: its keys and values are to be seen by the second. */
  readonly publish: (layer: number, fresh: KeyValues) => KeyValues;
  /** Of the second half: those of the first, then its own. */
  readonly join: (layer: number, fresh: KeyValues) => KeyValues;
  /** Of the second half's backward: keeps the gradients of the first's, and returns those of its own. */
  readonly leave: (layer: number, gradients: KeyValues) => KeyValues;
  /** Of the first half's backward: adds what the second left. @mutates gradients */
  readonly collect: (layer: number, gradients: KeyValues) => KeyValues;
}

/**
 * Room for sharing. A layer's gradients are left and collected before the next layer's are left.
 *
 * @param keep Whether the first half's keys must be copied because its activations do not last until the second needs them
 */
export function createSharedKeys(
  k: Kernels,
  second: Kernels,
  config: ModelConfig,
  tokens: number,
  keep: boolean,
): SharedKeys {
  const shape = [tokens, config.numKeyValueHeads, config.headDim];
  const room = (): KeyValues => ({ keys: arenaActivation(k, shape), values: arenaActivation(k, shape) });
  const kept = keep ? Array.from({ length: config.numHiddenLayers }, room) : null;
  const left = room();
  const published: KeyValues[] = [];
  let leftLayer: number | null = null;
  const joined = (first: Activation, own: Activation): Activation => {
    const [ownTokens = 0, ...rest] = own.shape;
    const both = arenaLike(second, own, [tokens + ownTokens, ...rest]);
    second.copy(both.data.subarray(0, first.data.length), first.data);
    second.copy(both.data.subarray(first.data.length), own.data);
    return both;
  };
  /** Rows [0, tokens) into `to`; @returns the others. */
  const cut = (to: Activation, all: Activation): Activation => {
    const [allTokens = 0, ...rest] = all.shape;
    second.copy(to.data, all.data.subarray(0, to.data.length));
    return { shape: [allTokens - tokens, ...rest], data: all.data.subarray(to.data.length) };
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
      if (!first) throw new Error(`The first half has not come to layer ${layer}`);
      return { keys: joined(first.keys, fresh.keys), values: joined(first.values, fresh.values) };
    },
    leave(layer, gradients) {
      if (leftLayer !== null) {
        throw new Error(`Gradients of the keys of layer ${leftLayer} were not collected`);
      }
      leftLayer = layer;
      return { keys: cut(left.keys, gradients.keys), values: cut(left.values, gradients.values) };
    },
    collect(layer, gradients) {
      if (leftLayer !== layer) throw new Error(`The second half has not come back to layer ${layer}`);
      leftLayer = null;
      k.add(gradients.keys.data, left.keys.data);
      k.add(gradients.values.data, left.values.data);
      return gradients;
    },
  };
}

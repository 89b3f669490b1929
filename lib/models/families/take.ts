// SPDX-License-Identifier: Apache-2.0
/** Norms and products of a module, by the names that PyTorch's modules give their tensors. */
import type { ModelConfig } from "../model.ts";
import type { Attention, Head, Linear, Norm, SublayerNorms, TakeTensor, TokenInput } from "../parts.ts";

/** What of a norm is not its tensors. */
export type NormShape = Pick<Norm, "kind" | "eps"> & Partial<Pick<Norm, "unitOffset">> & {
  /** Whether it has a weight. Default: yes. */
  readonly weight?: boolean;
  /** Whether it has a bias. Default: a layer norm with a weight has. */
  readonly bias?: boolean;
};

/** The norm of a module over `size` numbers. */
export function takeNorm<W>(
  take: TakeTensor<W>,
  module: string,
  size: number,
  { kind, eps, unitOffset = false, weight: hasWeight = true, bias: hasBias = hasWeight && kind === "layer" }:
    NormShape,
): Norm<W> {
  const weight = hasWeight ? take(`${module}.weight`, null, size) : null;
  const bias = hasBias ? take(`${module}.bias`, null, size) : null;
  return { kind, weight, bias, eps, unitOffset };
}

/** Sizes of a product. */
export interface LinearShape {
  readonly outputs: number;
  readonly inputs: number;
  readonly bias: boolean;
  /** Whether its weight is kept as (I,O). Default: no. */
  readonly transposed?: boolean;
}

/** The product of a module. */
export function takeLinear<W>(
  take: TakeTensor<W>,
  site: string,
  module: string,
  { outputs, inputs, bias, transposed = false }: LinearShape,
): Linear<W> {
  const [rows, cols] = transposed ? [inputs, outputs] : [outputs, inputs];
  return {
    site,
    weight: take(`${module}.weight`, rows, cols),
    bias: bias ? take(`${module}.bias`, null, outputs) : null,
    ...(transposed && { transposed }),
  };
}

/**
 * The head of a decoder: of a language model, or on the last token of whole sequences.
 *
 * @param names Of the modules of both     @param embedding (V,E) what a tied head is
 * @param options `width`: of the hidden states, that of the stream when absent; `softcap` of logits
 */
export function takeHead<W>(
  take: TakeTensor<W>,
  { head, hiddenSize, vocabSize, tieWordEmbeddings, padTokenId: padId }: ModelConfig,
  names: { readonly head: string; readonly classifier: string },
  embedding: W,
  { width = hiddenSize, softcap = 0 }: { readonly width?: number; readonly softcap?: number } = {},
): Head<W> {
  if (head.kind !== "classification") {
    const weight = tieWordEmbeddings ? embedding : take(`${names.head}.weight`, vocabSize, width);
    return { kind: "lm", weight, bias: null, softcap };
  }
  const output = takeLinear(take, names.classifier, names.classifier, {
    outputs: head.labels.length,
    inputs: width,
    bias: false,
  });
  return { kind: "classification", pooling: { kind: "last", padId }, layers: [], output, gives: head.gives };
}

/** What enters a stack as embeddings alone. */
export function plainInput<W>(embedding: W): TokenInput<W> {
  return {
    ...{ kind: "tokens", embedding, scale: 1 },
    ...{ projection: null, positions: null, types: null, norm: null },
  };
}

/** A norm before a sublayer or, where `before` is false, of the sum behind it. */
export function normAt<W>(norm: Norm<W>, before: boolean): SublayerNorms<W> {
  return before ? { input: norm, output: null, sum: null } : { input: null, output: null, sum: norm };
}

/** Attention of as many keys as queries that nothing turns: q.k over the root of the head's size, no window. */
export function plainAttention<W>(
  own: Pick<Attention<W>, "module" | "norms" | "inputs" | "o" | "heads" | "headDim" | "sees">,
): Attention<W> {
  return {
    ...{ kind: "attention", qkNorms: null, rotary: null, window: 0, softcap: 0 },
    ...{ scale: 1 / Math.sqrt(own.headDim), kvHeads: own.heads },
    ...own,
  };
}

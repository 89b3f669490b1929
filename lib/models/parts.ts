// SPDX-License-Identifier: Apache-2.0
/**
 * A model as data: what its layers are made of, with anything in the place of weights (W): the weights themselves, or names
 * and shapes. Families build parts; the engine, loading and adapters read all sizes and names from them.
 */
import type { NormCall } from "../ops/kernels/model.ts";
import type { Weight } from "../tensor/tensor.ts";

/** A product with a weight, y = x w^T + bias: a place where an adapter on weights attaches. */
export interface Linear<W = Weight> {
  /** Short name of the place, the same in every layer: `q`. */
  readonly site: string;
  /** (O,I). */
  readonly weight: W;
  /** (O); null where there is none. */
  readonly bias: W | null;
}

/** A norm of rows, as `lib/ops/norm.ts` computes it. */
export type Norm<W = Weight> = NormCall<W>;

/** Causal grouped-query attention with rotated queries and keys: y = x + o(attention(q(h), k(h), v(h))), h = norm(x). */
export interface Attention<W = Weight> {
  readonly kind: "attention";
  /** Name of its module in the checkpoint: what adapters name their tensors after. */
  readonly module: string;
  readonly norm: Norm<W>;
  readonly q: Linear<W>;
  readonly k: Linear<W>;
  readonly v: Linear<W>;
  readonly o: Linear<W>;
  /** Norms of each query and key head before the rotation; null where there are none. */
  readonly qNorm: Norm<W> | null;
  readonly kNorm: Norm<W> | null;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** How many of the last tokens are seen, its own among them; 0 for all. */
  readonly window: number;
}

/** A gated feed-forward: y = x + down(silu(gate(h)) * up(h)), h = norm(x). */
export interface Ffn<W = Weight> {
  readonly kind: "ffn";
  readonly module: string;
  readonly norm: Norm<W>;
  readonly gate: Linear<W>;
  readonly up: Linear<W>;
  readonly down: Linear<W>;
}

/** What adds to the residual stream. A new kind is a line here, a file in `sublayers/` and a line in the registry there. */
export type Sublayer<W = Weight> = Attention<W> | Ffn<W>;

/** Sublayers in the order they compute in. */
export type Layer<W = Weight> = readonly Sublayer<W>[];

/** Layers one above the other. */
export interface Stack<W = Weight> {
  readonly layers: readonly Layer<W>[];
  readonly finalNorm: Norm<W>;
}

/** A language model's head: logits = h w^T + bias, for each token. */
export interface LmHead<W = Weight> {
  readonly kind: "lm";
  /** (V,D): the embedding itself when they are tied. */
  readonly weight: W;
  /** (V); null where there is none. */
  readonly bias: W | null;
}

/** Which token's hidden state stands for a sequence: its first, or the last that is no padding. */
export type Pooling = { readonly kind: "first" } | { readonly kind: "last"; readonly padId: number | null };

/** A head on whole sequences: y = h w^T + bias of the token that stands for each. */
export interface ClassificationHead<W = Weight> {
  readonly kind: "classification";
  readonly pooling: Pooling;
  /** (C,D): a row for each label, or one for a value. */
  readonly output: Linear<W>;
  /** What y is: logits of classes, or a value. */
  readonly gives: "classes" | "values";
}

/** What the hidden states go to. A new kind is a line here, a file in `heads/` and a line in the registry there. */
export type Head<W = Weight> = LmHead<W> | ClassificationHead<W>;

/** All of a model. */
export interface ModelParts<W = Weight> {
  /** (V,D). */
  readonly embedding: W;
  readonly stacks: readonly [Stack<W>];
  readonly head: Head<W>;
}

/** Gives what stands for a tensor of a checkpoint: (cols) when rows is null, else (rows, cols). */
export type TakeTensor<W> = (name: string, rows: number | null, cols: number) => W;

/** Layers of all stacks, by the number that hooks know them by. */
export function layersOf<W>({ stacks }: Pick<ModelParts<W>, "stacks">): readonly Layer<W>[] {
  return stacks.flatMap(({ layers }) => layers);
}

/** The first sublayer of a kind in a layer; null where it has none. */
export function partOf<W, Kind extends Sublayer["kind"]>(
  layer: Layer<W>,
  kind: Kind,
): Extract<Sublayer<W>, { kind: Kind }> | null {
  const isOfKind = (part: Sublayer<W>): part is Extract<Sublayer<W>, { kind: Kind }> => part.kind === kind;
  return layer.find(isOfKind) ?? null;
}

/** The lowest sublayer of a kind, which stands for all where one is measured; null where there is none. */
export function lowestOf<W, Kind extends Sublayer["kind"]>(
  parts: Pick<ModelParts<W>, "stacks">,
  kind: Kind,
): Extract<Sublayer<W>, { kind: Kind }> | null {
  return partOf(layersOf(parts).flat(), kind);
}

/** (rows,Hkv,Dh): keys, or values, of `rows` tokens in each layer; of no heads in a layer without attention. */
export function keyShapes(parts: Pick<ModelParts<unknown>, "stacks">, rows: number): number[][] {
  return layersOf(parts).map((layer) => {
    const attention = partOf(layer, "attention");
    return [rows, attention?.kvHeads ?? 0, attention?.headDim ?? 0];
  });
}

/** The products of a sublayer, in the order they compute in. */
export function linearsOf<W>(part: Sublayer<W>): Linear<W>[] {
  return membersWith(part, "site") as Linear<W>[];
}

/** The norms of a sublayer, of its input and within it. */
export function normsOf<W>(part: Sublayer<W>): Norm<W>[] {
  return membersWith(part, "eps") as Norm<W>[];
}

/** Everything that stands for a tensor of a sublayer, in the order in which families take them. */
export function tensorsOf<W>(part: Sublayer<W>): W[] {
  const linears = linearsOf(part);
  const innerNorms = normsOf(part).filter((norm) => norm !== part.norm);
  return [
    ...normTensors(part.norm),
    ...linears.map(({ weight }) => weight),
    ...linears.flatMap(({ bias }) => bias ?? []),
    ...innerNorms.flatMap(normTensors),
  ];
}

/** The weight of a norm, and its bias where it has one. */
export function normTensors<W>({ weight, bias }: Norm<W>): W[] {
  return bias === null ? [weight] : [weight, bias];
}

/** Everything that stands for a tensor, each once (a tied head is the embedding), in the order in which families take them. */
export function allTensors<W>(parts: ModelParts<W>): W[] {
  const stacks = parts.stacks.flatMap(({ layers, finalNorm }) => [
    ...layers.flatMap((layer) => layer.flatMap((part) => tensorsOf(part))),
    ...normTensors(finalNorm),
  ]);
  return [...new Set([parts.embedding, ...stacks, ...headTensors(parts.head)])];
}

/** Everything that stands for a tensor of a head: all matrices, then their biases. */
export function headTensors<W>(head: Head<W>): W[] {
  const { weight, bias } = head.kind === "lm" ? head : head.output;
  return bias === null ? [weight] : [weight, bias];
}

/** Members of a part that are records of their own with a field of this name. */
function membersWith(part: object, field: string): object[] {
  return Object.values(part).filter((value) => typeof value === "object" && value !== null && field in value);
}

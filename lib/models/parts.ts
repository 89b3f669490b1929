// SPDX-License-Identifier: Apache-2.0
/**
 * A model as data: what its layers are made of, with anything in the place of weights (W): the weights themselves, or names
 * and shapes. Families build parts; the engine, loading and adapters read all sizes and names from them.
 */
import type { PatchShape } from "../data/images/patches.ts";
import type { ActivationKind, Sees } from "../ops/kernels/model.ts";
import type { RowNorm } from "../ops/norm.ts";
import type { Weight } from "../tensor/tensor.ts";
import type { Rotary } from "./rotary.ts";

/** A product with a weight, y = x w^T + bias: a place where an adapter on weights attaches. */
export interface Linear<W = Weight> {
  /** Short name of the place, the same in every layer: `q`. */
  readonly site: string;
  /** (O,I); (I,O) where it is transposed. */
  readonly weight: W;
  /** (O); null where there is none. */
  readonly bias: W | null;
  /** Whether the checkpoint keeps the weight as (I,O), as GPT-2's `Conv1D` does: y = x w + bias. Default: no. */
  readonly transposed?: boolean;
}

/** A norm of rows; see `lib/ops/norm.ts`. */
export type Norm<W = Weight> = RowNorm<W>;

/**
 * The norms of a sublayer f, each left out where it is null: y = sum(x + output(f(input(x)))).
 *
 * Most decoders norm the input; BERT and OPT-350m the sum; gemma 2 and 3 input and output; OLMo 2 the output alone. A hook
 * beside f reads what f reads, h = input(x), and what it adds is added to f(h), before any norm of that: so an adapter that is
 * merged into f gives what it gave beside it.
 */
export interface SublayerNorms<W = Weight> {
  readonly input: Norm<W> | null;
  readonly output: Norm<W> | null;
  readonly sum: Norm<W> | null;
}

/** Norms of queries and keys before the rotation: of each head, or of all heads together. */
export interface QkNorms<W = Weight> {
  readonly q: Norm<W>;
  readonly k: Norm<W>;
  readonly over: "head" | "projection";
}

/** Grouped-query attention: f(h) = o(attention(q(h), k(h), v(h))). */
export interface Attention<W = Weight> {
  readonly kind: "attention";
  /** Name of its module in the checkpoint: what adapters name their tensors after. */
  readonly module: string;
  readonly norms: SublayerNorms<W>;
  /** Queries, keys and values: a product each, or one whose output holds the three side by side. */
  readonly inputs: readonly Linear<W>[];
  readonly o: Linear<W>;
  readonly qkNorms: QkNorms<W> | null;
  /** Which of `ModelParts.rotary` turns queries and keys; null where none does. */
  readonly rotary: string | null;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** What a token sees of its sequence: itself and what comes before it, or all. */
  readonly sees: Sees;
  /** How many of the last tokens are seen, its own among them; 0 for no limit. With `all`, half of them to each side. */
  readonly window: number;
  /** Of q.k. */
  readonly scale: number;
  /** Scores s become softcap tanh(s / softcap); 0 for none. */
  readonly softcap: number;
}

/**
 * Attention to another stack, whose hidden states e come out of the stack before: f(h) = o(attention(q(h), k(e), v(e))), each
 * token seeing all of its own sequence's.
 */
export interface CrossAttention<W = Weight> {
  readonly kind: "cross-attention";
  readonly module: string;
  readonly norms: SublayerNorms<W>;
  /** Queries of h, keys and values of e. */
  readonly inputs: readonly [q: Linear<W>, k: Linear<W>, v: Linear<W>];
  readonly o: Linear<W>;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Of q.k. */
  readonly scale: number;
}

/** A feed-forward: f(h) = down(activation(gate(h)) * up(h)), or down(activation(up(h))) where it is not gated. */
export interface Ffn<W = Weight> {
  readonly kind: "ffn";
  readonly module: string;
  readonly norms: SublayerNorms<W>;
  readonly gated: boolean;
  /** Gate and up, or up alone: a product each, or one whose output holds both side by side. */
  readonly inputs: readonly Linear<W>[];
  readonly down: Linear<W>;
  readonly activation: ActivationKind;
}

/** The weights of one expert: down(activation(gate(h)) * up(h)). */
export interface Expert<W = Weight> {
  /** (F,D) each. */
  readonly gate: W;
  readonly up: W;
  /** (D,F). */
  readonly down: W;
}

/** An expert that all tokens have, weighed by sigmoid(gate h). */
export interface SharedExpert<W = Weight> {
  /** Gate and up. */
  readonly inputs: readonly [Linear<W>, Linear<W>];
  readonly down: Linear<W>;
  readonly gate: Linear<W>;
}

/**
 * A mixture of feed-forwards, of which a token has a few: f(h) = sum over its K experts e of p_e expert_e(h), where p is what
 * `lib/ops/experts.ts` makes of router(h); and a shared expert beside them. Experts are no sites: transformers has all of a
 * layer in one tensor, which no adapter on products reaches.
 */
export interface Experts<W = Weight> {
  readonly kind: "experts";
  readonly module: string;
  readonly norms: SublayerNorms<W>;
  /** (N,D) */
  readonly router: W;
  readonly experts: readonly Expert<W>[];
  readonly shared: SharedExpert<W> | null;
  /** K. */
  readonly active: number;
  /** Whether the weights of a token's experts are divided by their sum. */
  readonly normalised: boolean;
  readonly activation: ActivationKind;
}

/** What adds to the residual stream. A new kind is a line here, a file in `sublayers/` and a line in the registry there. */
export type Sublayer<W = Weight> = Attention<W> | CrossAttention<W> | Ffn<W> | Experts<W>;

/**
 * Names of the places beside sublayers, where adapters on branches attach: every layer has one of each. A mixture of
 * feed-forwards is one of them. Beside attention to another stack there is none, as only a decoder's layers have that.
 */
export type Branch = "attention" | "ffn";

/** The place beside a sublayer; null where there is none. */
export function branchOf({ kind }: Pick<Sublayer, "kind">): Branch | null {
  if (kind === "cross-attention") return null;
  return kind === "experts" ? "ffn" : kind;
}

/** Sublayers in the order they compute in. */
export type Layer<W = Weight> = readonly Sublayer<W>[];

/** What enters the first layer: x = norm(projection(scale * embedding[ids]) + positions[...] + types[...]). */
export interface TokenInput<W = Weight> {
  readonly kind: "tokens";
  /** (V,E) */
  readonly embedding: W;
  /** 1 for most. */
  readonly scale: number;
  /** (D,E), between an embedding that is narrower than the stream and the stream; null for most. */
  readonly projection: Linear<W> | null;
  /** Learned positions: row `position + offset` of (P,D); null where there are none. */
  readonly positions: { readonly weight: W; readonly offset: number } | null;
  /** (types,D): what kind of text a token is of; null where there is none. */
  readonly types: W | null;
  readonly norm: Norm<W> | null;
}

/** What enters the first layer of a vision model: x = [learned tokens; projection(patches)] + positions, for each picture. */
export interface PatchInput<W = Weight> {
  readonly kind: "patches";
  readonly shape: PatchShape;
  /** (1,D) each: what stands before the patches, and may stand for the picture. */
  readonly tokens: readonly W[];
  /** (D,C*P*P): the weight (D,C,P,P) of a convolution whose stride is the size of a patch. */
  readonly projection: Linear<W>;
  /** (tokens + patches,D) */
  readonly positions: W;
}

/** What a model is given. A new kind is a line here and a file in `engine/`. */
export type ModelInput<W = Weight> = TokenInput<W> | PatchInput<W>;

/** Layers one above the other, from tokens to hidden states: projection(finalNorm(layers(input))). */
export interface Stack<W = Weight> {
  readonly input: ModelInput<W>;
  readonly layers: readonly Layer<W>[];
  readonly finalNorm: Norm<W> | null;
  /** To the width of a narrower embedding; null for most. */
  readonly projection: Linear<W> | null;
}

/** A language model's head: logits = h w^T + bias, capped or not, for each token. */
export interface LmHead<W = Weight> {
  readonly kind: "lm";
  /** (V,D): the embedding itself when they are tied. */
  readonly weight: W;
  /** (V); null where there is none. */
  readonly bias: W | null;
  /** (V), (1,V) in the checkpoint: a bias that nobody trains, as it is no parameter to transformers. Absent for most. */
  readonly constantBias?: W | undefined;
  /** Logits x become softcap tanh(x / softcap); 0 for none. */
  readonly softcap: number;
}

/** A layer between hidden states and what a head gives: norm(activation(h w^T + bias)). */
export interface HeadLayer<W = Weight> {
  readonly linear: Linear<W>;
  readonly activation: ActivationKind;
  readonly norm: Norm<W> | null;
}

/** The head of an encoder that fills in masked tokens: logits = layer(h) w^T + bias, for the tokens that are asked for. */
export interface MaskedLmHead<W = Weight> {
  readonly kind: "masked-lm";
  readonly layer: HeadLayer<W>;
  /** (V,D): the embedding itself when they are tied. */
  readonly weight: W;
  /** (V); null where there is none. */
  readonly bias: W | null;
}

/** What stands for a sequence: the hidden state of its first token, or of the last that is no padding, or the mean of all. */
export type Pooling =
  | { readonly kind: "first" }
  | { readonly kind: "mean" }
  | { readonly kind: "last"; readonly padId: number | null };

/** A head on whole sequences: y = layers(p) w^T + bias, p being what stands for each. */
export interface ClassificationHead<W = Weight> {
  readonly kind: "classification";
  readonly pooling: Pooling;
  readonly layers: readonly HeadLayer<W>[];
  /** (C,D): a row for each label, or one for a value. */
  readonly output: Linear<W>;
  /** (C,D) of the token behind that one, which another teacher taught: y is the mean of both. Absent for most. */
  readonly distilled?: Linear<W>;
  /** What y is: logits of classes, or a value. */
  readonly gives: "classes" | "values";
}

/** What the hidden states go to. A new kind is a line here, a file in `heads/` and a line in the registry there. */
export type Head<W = Weight> = LmHead<W> | MaskedLmHead<W> | ClassificationHead<W>;

/** All of a model. */
export interface ModelParts<W = Weight> {
  /** The head is on the last; of two, the layers of the second see what comes out of the first. */
  readonly stacks: readonly [Stack<W>, ...Stack<W>[]];
  /** Rotary embeddings, by the name that sublayers know them by. */
  readonly rotary: Readonly<Record<string, Rotary>>;
  readonly head: Head<W>;
}

/**
 * Gives what stands for a tensor of a checkpoint: (cols) when rows is null, else (rows, cols).
 *
 * @param stored Its shape in the checkpoint, where that has other dimensions and the same elements in the same order
 */
export type TakeTensor<W> = (
  name: string,
  rows: number | null,
  cols: number,
  stored?: readonly number[],
) => W;

/** A tensor that a configuration asks for. */
export interface TensorShape {
  readonly name: string;
  /** Null for a vector. */
  readonly rows: number | null;
  readonly cols: number;
  /** In the checkpoint, where that is not (cols) or (rows,cols). */
  readonly stored?: readonly number[] | undefined;
}

/** Layers of all stacks, by the number that hooks know them by. */
export function layersOf<W>({ stacks }: Pick<ModelParts<W>, "stacks">): readonly Layer<W>[] {
  return stacks.flatMap(({ layers }) => layers);
}

/** The number that hooks know the head by: that behind all layers. */
export function headLayer(parts: Pick<ModelParts, "stacks">): number {
  return layersOf(parts).length;
}

/** The stack whose hidden states the head reads. */
export function lastStack<W>({ stacks }: Pick<ModelParts<W>, "stacks">): Stack<W> {
  return stacks.at(-1) as Stack<W>;
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

/**
 * (rows,Hkv,Dh): keys, or values, of `rows` tokens in each layer of the stack that the head is on; of no heads in a layer
 * without such attention, and in those below.
 */
export function keyShapes(
  parts: Pick<ModelParts<unknown>, "stacks">,
  rows: number,
  kind: "attention" | "cross-attention" = "attention",
): number[][] {
  const decoding = new Set(lastStack(parts).layers);
  return layersOf(parts).map((layer) => {
    const attention = decoding.has(layer) ? partOf(layer, kind) : null;
    return [rows, attention?.kvHeads ?? 0, attention?.headDim ?? 0];
  });
}

/** Whether the rows of a layer are of what an encoder reads, beside a decoder. */
export function isOfSource<W>(parts: Pick<ModelParts<W>, "stacks">, layer: number): boolean {
  return layer < layersOf(parts).length - lastStack(parts).layers.length;
}

/**
 * Whether a product reads rows of what an encoder reads, and not of what the decoder beside it does: in the encoder's layers, and
 * where the decoder's make keys and values of that.
 */
export function readsSource<W>(
  parts: Pick<ModelParts<W>, "stacks">,
  layer: number,
  site: string,
): boolean {
  const own = layersOf(parts)[layer] ?? [];
  if (isOfSource(parts, layer)) return true;
  const [, ...ofSource] = partOf(own, "cross-attention")?.inputs ?? [];
  return ofSource.some((linear) => linear.site === site);
}

// SPDX-License-Identifier: Apache-2.0
/** What is found in the parts of a model: products, norms, and everything that stands for a tensor. */
import {
  type ClassificationHead,
  type Head,
  type HeadLayer,
  layersOf,
  type Linear,
  type ModelInput,
  type ModelParts,
  type Norm,
  type Stack,
  type Sublayer,
} from "./parts.ts";

/** The products of a sublayer, in the order they compute in. */
export function linearsOf<W>(part: Sublayer<W>): Linear<W>[] {
  return recordsOf<W>(part).filter((record) => "site" in record);
}

/** The norms of a sublayer, around it and within it. */
export function normsOf<W>(part: Sublayer<W>): Norm<W>[] {
  return recordsOf<W>(part).filter((record) => "eps" in record);
}

/** (O,I) of a product. */
export function linearSize(
  { weight: { rows, cols }, transposed }: Linear<{ readonly rows: number; readonly cols: number }>,
): { outputs: number; inputs: number } {
  return transposed === true ? { outputs: cols, inputs: rows } : { outputs: rows, inputs: cols };
}

/** Everything that stands for a tensor of a sublayer: norm of its input, matrices, biases, all other norms. */
export function tensorsOf<W>(part: Sublayer<W>): W[] {
  const { input } = part.norms;
  const linears = linearsOf(part);
  return [
    ...normTensors(input),
    ...linears.map(({ weight }) => weight),
    ...linears.flatMap(({ bias }) => bias ?? []),
    ...normsOf(part).filter((norm) => norm !== input).flatMap(normTensors),
    ...expertTensors(part),
  ];
}

/** What stands for the tensors of a mixture that are no sites: its router and experts. */
export function expertTensors<W>(part: Sublayer<W>): W[] {
  if (part.kind !== "experts") return [];
  return [part.router, ...part.experts.flatMap(({ gate, up, down }) => [gate, up, down])];
}

/** The weight of a norm, then its bias, each where it has one; nothing of none. */
export function normTensors<W>(norm: Norm<W> | null): W[] {
  return [norm?.weight ?? null, norm?.bias ?? null].flatMap((tensor) => tensor ?? []);
}

/** Everything that stands for a tensor of what enters a stack. */
export function inputTensors<W>(input: ModelInput<W>): W[] {
  if (input.kind === "patches") {
    return [...input.tokens, ...linearTensors(input.projection), input.positions];
  }
  const { embedding, projection, positions, types, norm } = input;
  return [
    embedding,
    ...linearTensors(projection),
    ...(positions === null ? [] : [positions.weight]),
    ...(types === null ? [] : [types]),
    ...normTensors(norm),
  ];
}

/** The table of tokens that a stack begins with; null where it is given none. */
export function embeddingOf<W>({ input }: Stack<W>): W | null {
  return input.kind === "tokens" ? input.embedding : null;
}

/** Everything that stands for a tensor of what lies behind the layers of a stack. */
export function outputTensors<W>({ finalNorm, projection }: Stack<W>): W[] {
  return [...normTensors(finalNorm), ...linearTensors(projection)];
}

/**
 * Everything that stands for a tensor that may be trained, each once (a tied head is the embedding): what is trained is saved in
 * this order.
 */
export function allTensors<W>(parts: ModelParts<W>): W[] {
  const stacks = parts.stacks.flatMap((stack) => [
    ...inputTensors(stack.input),
    ...stack.layers.flatMap((layer) => layer.flatMap((part) => tensorsOf(part))),
    ...outputTensors(stack),
  ]);
  return [...new Set([...stacks, ...headTensors(parts.head)])];
}

/** What stands for tensors that nobody trains. */
export function constantTensors<W>({ head }: Pick<ModelParts<W>, "head">): W[] {
  return head.kind === "lm" && head.constantBias !== undefined ? [head.constantBias] : [];
}

/** Everything that stands for a tensor of a head: what gives its outputs, then the layers before that. */
export function headTensors<W>(head: Head<W>): W[] {
  const outputs = head.kind === "classification" ? outputsOf(head) : [head];
  return [
    ...outputs.map(({ weight }) => weight),
    ...outputs.flatMap(({ bias }) => bias ?? []),
    ...headLayers(head).flatMap(({ linear, norm }) => [...linearTensors(linear), ...normTensors(norm)]),
  ];
}

/** What stands for the weights of a head's products. */
export function headMatrices<W>(head: Head<W>): W[] {
  const outputs = head.kind === "classification" ? outputsOf(head) : [head];
  return [...outputs, ...headLayers(head).map(({ linear }) => linear)].map(({ weight }) => weight);
}

/** The products of a head that adapters attach to, in the order they compute in; what gives tokens is none. */
export function headLinears<W>(head: Head<W>): readonly Linear<W>[] {
  const outputs = head.kind === "classification" ? outputsOf(head) : [];
  return [...headLayers(head).map(({ linear }) => linear), ...outputs];
}

/** The products that adapters attach to, by the number that hooks know their layer by; behind all layers, those of the head. */
export function placesOf<W>(parts: ModelParts<W>): readonly (readonly Linear<W>[])[] {
  const layers = layersOf(parts).map((layer) => layer.flatMap((part) => linearsOf(part)));
  return [...layers, headLinears(parts.head)];
}

/** The layers between hidden states and what a head gives. */
export function headLayers<W>(head: Head<W>): readonly HeadLayer<W>[] {
  if (head.kind === "classification") return head.layers;
  return head.kind === "masked-lm" ? [head.layer] : [];
}

/** The products of a head on whole sequences: one, or one for each teacher. */
export function outputsOf<W>({ output, distilled }: ClassificationHead<W>): readonly Linear<W>[] {
  return distilled === undefined ? [output] : [output, distilled];
}

function linearTensors<W>(linear: Linear<W> | null): W[] {
  if (linear === null) return [];
  return linear.bias === null ? [linear.weight] : [linear.weight, linear.bias];
}

/** The products and norms within a part, in the order of its members. */
function recordsOf<W>(part: object): (Linear<W> & Norm<W>)[] {
  return Object.values(part).flatMap((value) => {
    if (typeof value !== "object" || value === null || "rows" in value) return [];
    return "site" in value || "eps" in value ? [value] : recordsOf<W>(value);
  });
}

// SPDX-License-Identifier: Apache-2.0
/** Contract cases of matrix products and embedding. */
import type { ActivationArray } from "../../../lib/tensor/tensor.ts";
import { type KernelCase, type Outputs, sums } from "../kernel_case.ts";
import type { Stage, StoredDType } from "../stage.ts";

/** Tokens, inputs, outputs. */
export type Size = readonly [tokens: number, cols: number, rows: number];

/** Around vector and tile widths, primes, and sums longer than a block. */
const SIZES = [
  [0, 3, 2],
  [1, 1, 1],
  [5, 16, 17],
  [7, 31, 15],
  [2, 33, 64],
  [33, 37, 65],
  [17, 130, 131],
  [3, 1031, 5],
  [70, 257, 19],
] as const;
/** As a weight may be stored. */
export const DTYPES = ["f32", "bf16", "f16"] as const;

/** Which sides of a product are stored as activations: what is written, what is read. */
interface Sides {
  readonly to: boolean;
  readonly from: boolean;
}

const FLOATS: Sides = { to: false, from: false };

/** A result: values to add to, or room to write. */
function result(
  stage: Stage,
  name: string,
  count: number,
  accumulate: boolean,
  { to }: Sides,
): ActivationArray {
  if (to) return accumulate ? stage.activation(name, count) : stage.activationOutput(count);
  return accumulate ? stage.normal(name, count) : stage.output(count);
}

function input(stage: Stage, name: string, count: number, stored: boolean): ActivationArray {
  return stored ? stage.activation(name, count) : stage.normal(name, count);
}

function forward(
  stage: Stage,
  [tokens, cols, rows]: Size,
  dtype: StoredDType,
  accumulate: boolean,
  sides = FLOATS,
): Outputs {
  const y = result(stage, "y", tokens * rows, accumulate, sides);
  const bias = accumulate ? null : stage.weight("bias", 1, rows, dtype);
  const x = input(stage, "x", tokens * cols, sides.from);
  stage.k.linearForward(y, x, stage.weight("w", rows, cols, dtype), bias, tokens, accumulate);
  return { y };
}

function backwardData(
  stage: Stage,
  [tokens, cols, rows]: Size,
  dtype: StoredDType,
  accumulate: boolean,
  sides = FLOATS,
): Outputs {
  const dx = result(stage, "dx", tokens * cols, accumulate, sides);
  const dy = input(stage, "dy", tokens * rows, sides.from);
  stage.k.linearBackwardData(dx, dy, stage.weight("w", rows, cols, dtype), tokens, accumulate);
  return { dx };
}

/** @param stored Whether dy, and x, are stored as activations */
function backwardWeight(
  stage: Stage,
  [tokens, cols, rows]: Size,
  withBias: boolean,
  stored: readonly [dy: boolean, x: boolean] = [false, false],
): Outputs {
  const dweight = stage.normal("dweight", rows * cols);
  const dbias = withBias ? stage.normal("dbias", rows) : null;
  const dy = input(stage, "dy", tokens * rows, stored[0]);
  const x = input(stage, "x", tokens * cols, stored[1]);
  stage.k.linearBackwardWeight(dweight, dbias, dy, x, tokens, rows, cols);
  return dbias ? { dweight, dbias } : { dweight };
}

function embedding(
  stage: Stage,
  ids: readonly number[],
  hidden: number,
  dtype: StoredDType,
  accumulate = false,
): Outputs {
  const vocabulary = 11;
  const tokens = Int32Array.from(ids);
  const y = accumulate ? stage.normal("y", ids.length * hidden) : stage.output(ids.length * hidden);
  stage.k.embeddingForward(y, tokens, stage.weight("w", vocabulary, hidden, dtype), accumulate);
  return { y };
}

function embeddingGradient(stage: Stage, ids: readonly number[], hidden: number): Outputs {
  const vocabulary = 11;
  const dweight = stage.normal("dweight", vocabulary * hidden);
  const dy = stage.normal("dy", ids.length * hidden);
  stage.k.embeddingBackward(dweight, Int32Array.from(ids), dy, vocabulary, hidden);
  return { dweight };
}

/** The first and the last row among them. */
function manyIds(tokens: number): number[] {
  return Array.from({ length: tokens }, (_, t) => t === 0 ? 10 : (t * t + 3 * t - 4) % 11);
}

const IDS = [3, 0, 10, 3, 3, 7];

/** Cases of this family. */
export const linearCases: readonly KernelCase[] = [
  ...SIZES.flatMap((size, i) => {
    const dtype = DTYPES[i % 3] as StoredDType;
    const label = `of (T,I,O) = (${size}) and a ${dtype} weight`;
    return [
      sums(`linearForward() ${label} adds the bias`, (stage) => forward(stage, size, dtype, false)),
      sums(`linearForward() ${label} accumulates`, (stage) => forward(stage, size, dtype, true)),
      sums(`linearBackwardData() ${label} writes`, (stage) => backwardData(stage, size, dtype, false)),
      sums(`linearBackwardData() ${label} accumulates`, (stage) => backwardData(stage, size, dtype, true)),
      sums(
        `linearBackwardWeight() of (T,I,O) = (${size}) accumulates`,
        (stage) => backwardWeight(stage, size, i % 2 === 0),
      ),
      ...[{ to: true, from: false }, { to: false, from: true }, { to: true, from: true }].flatMap((sides) => {
        const kind = `${sides.from ? "activations" : "floats"} to ${sides.to ? "activations" : "floats"}`;
        return [false, true].flatMap((accumulate) => {
          const name = `${label}, ${kind}, ${accumulate ? "accumulates" : "writes"}`;
          return [
            sums(`linearForward() ${name}`, (stage) => forward(stage, size, dtype, accumulate, sides)),
            sums(
              `linearBackwardData() ${name}`,
              (stage) => backwardData(stage, size, dtype, accumulate, sides),
            ),
          ];
        });
      }),
      ...([[true, true], [false, true], [true, false]] as const).map((stored) =>
        sums(
          `linearBackwardWeight() of (T,I,O) = (${size}), dy and x activations: ${stored.join(" and ")}`,
          (stage) => backwardWeight(stage, size, true, stored),
        )
      ),
    ];
  }),
  ...DTYPES.map((dtype) =>
    sums(`linearForward() of a ${dtype} weight`, (stage) => forward(stage, [6, 48, 35], dtype, true))
  ),
  ...DTYPES.flatMap((dtype): KernelCase[] => [
    {
      name: `embeddingForward() copies rows of a ${dtype} table`,
      run: (stage) => embedding(stage, IDS, 19, dtype),
    },
    sums(
      `embeddingForward() adds rows of a ${dtype} table`,
      (stage) => embedding(stage, IDS, 19, dtype, true),
    ),
  ]),
  // No columns, ids that come again and again, and more rows than a task takes.
  ...[[2, 0], [1, 1], [3, 15], [5, 16], [7, 17], [13, 67], [301, 521]].flatMap(([tokens, hidden]) =>
    DTYPES.map((dtype): KernelCase => ({
      name: `embeddingForward() of (T,D) = (${tokens},${hidden}) copies rows of a ${dtype} table`,
      run: (stage) => embedding(stage, manyIds(tokens as number), hidden as number, dtype),
    }))
  ),
  { name: "embeddingForward() of no tokens", run: (stage) => embedding(stage, [], 3, "f32") },
  sums("embeddingBackward() sums repeated ids", (stage) => embeddingGradient(stage, IDS, 19)),
  sums("embeddingBackward() of no tokens leaves the gradient", (stage) => embeddingGradient(stage, [], 5)),
];

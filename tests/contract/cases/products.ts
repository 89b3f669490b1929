// SPDX-License-Identifier: Apache-2.0
/** Contract cases of matrix products that round what they multiply, and of the ways in which a processor cuts them. */
import { type KernelCase, type Outputs, sums } from "../kernel_case.ts";
import type { Stage, StoredDType } from "../stage.ts";
import { DTYPES, type Size } from "./linear.ts";

/**
 * None and one of each; vector widths (4, 8, 16) and panel widths (8, 16,
 * 64) with their neighbours; the three ways of the forward pass (up to 12 tokens, up to 95 or 191, more).
 */
const SIZES = [
  [0, 5, 3],
  [3, 5, 0],
  [3, 0, 5],
  [1, 1, 1],
  [1, 33, 7],
  [2, 15, 13],
  [3, 16, 16],
  [7, 67, 17],
  [12, 130, 65],
  [13, 63, 3],
  [16, 64, 49],
  [17, 65, 101],
  [129, 31, 7],
  [193, 17, 63],
] as const;
/** Sizes that reach a second cut of a sum, a second block of tokens or columns, and both threads. */
const CUT = [
  [5, 1031, 211],
  [37, 4201, 31],
  [95, 737, 53],
  [203, 531, 301],
  [201, 1061, 67],
  [1061, 41, 67],
] as const;
/** The same of the sums over tokens; and tall and narrow, of more rows than a task takes. */
const CUT_OVER_TOKENS = [[1061, 41, 67], [2085, 67, 131], [20, 4, 700]] as const;

/** What a product that rounds its inputs starts from. */
interface Start {
  readonly bias: boolean;
  readonly accumulate: boolean;
}

function forward(
  stage: Stage,
  [tokens, cols, rows]: Size,
  dtype: StoredDType,
  { bias, accumulate }: Start,
): Outputs {
  const y = accumulate ? stage.normal("y", tokens * rows) : stage.output(tokens * rows);
  const added = bias ? stage.weight("bias", 1, rows, dtype) : null;
  const [x, w] = [stage.normal("x", tokens * cols), stage.weight("w", rows, cols, dtype)];
  stage.k.linearForward(y, stage.rounded(x), stage.roundedWeight(w), added, tokens, accumulate);
  return { y };
}

function backwardData(
  stage: Stage,
  [tokens, cols, rows]: Size,
  dtype: StoredDType,
  accumulate: boolean,
): Outputs {
  const dx = accumulate ? stage.normal("dx", tokens * cols) : stage.output(tokens * cols);
  const [dy, w] = [stage.normal("dy", tokens * rows), stage.weight("w", rows, cols, dtype)];
  stage.k.linearBackwardData(dx, stage.rounded(dy), stage.roundedWeight(w), tokens, accumulate);
  return { dx };
}

/** The bias gets sums of what is not rounded: it has cases of its own. */
function backwardWeight(stage: Stage, [tokens, cols, rows]: Size): Outputs {
  const dweight = stage.normal("dweight", rows * cols);
  const [dy, x] = [stage.normal("dy", tokens * rows), stage.normal("x", tokens * cols)];
  stage.k.linearBackwardWeight(dweight, null, stage.rounded(dy), stage.rounded(x), tokens, rows, cols);
  return { dweight };
}

/** The bias alone: its sums over tokens are of dy as it is. */
function backwardBias(stage: Stage, [tokens, cols, rows]: Size): Outputs {
  const [dweight, dbias] = [stage.normal("dweight", rows * cols), stage.normal("dbias", rows)];
  const [dy, x] = [stage.normal("dy", tokens * rows), stage.normal("x", tokens * cols)];
  stage.k.linearBackwardWeight(dweight, dbias, dy, x, tokens, rows, cols);
  return { dbias };
}

/** Products of one size that round what they multiply, with a weight of one type. */
function rounding(size: Size, dtype: StoredDType, i: number): KernelCase[] {
  const start = { bias: i % 2 === 0, accumulate: i % 3 === 0 };
  const label = `of (T,I,O) = (${size}) rounds its inputs and a ${dtype} weight`;
  return [
    sums(`linearForward() ${label}`, (stage) => forward(stage, size, dtype, start)),
    sums(`linearBackwardData() ${label}`, (stage) => backwardData(stage, size, dtype, i % 2 === 0)),
  ].map((test): KernelCase => ({ ...test, roundsInputs: true }));
}

function roundingOverTokens(size: Size): KernelCase[] {
  const name = `linearBackwardWeight() of (T,I,O) = (${size}) rounds`;
  return [
    sums(`${name} its inputs`, (stage) => backwardWeight(stage, size)),
    sums(`${name} none for the bias`, (stage) => backwardBias(stage, size)),
  ].map((test): KernelCase => ({ ...test, roundsInputs: true }));
}

/** Cases of this family. */
export const productCases: readonly KernelCase[] = [
  ...DTYPES.flatMap((dtype) => SIZES.flatMap((size, i) => rounding(size, dtype, i))),
  ...SIZES.flatMap(roundingOverTokens),
];

/** Those of a processor, which cuts what is larger than its caches: a device has tiles of one size. */
export const cutProductCases: readonly KernelCase[] = [
  // f32 weights for products in bf16, and f16 weights, are converted on the way; bf16 weights are read in place.
  ...CUT.flatMap((size, i) => [i, i + 1].flatMap((j) => rounding(size, DTYPES[j % 3] as StoredDType, j))),
  ...CUT_OVER_TOKENS.flatMap(roundingOverTokens),
];

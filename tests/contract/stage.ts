// SPDX-License-Identifier: Apache-2.0
/** Where a contract case runs: kernels of one backend, inputs that are the same for all, outputs between sentinels. */
import assert from "node:assert/strict";
import { bf16ToFloat, floatToBf16, floatToF16 } from "../../lib/core/half.ts";
import { randomNormal } from "../../lib/core/rng.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { weightValues } from "../../lib/ops/reference/weights.ts";
import type { ActivationArray, Floats, RowMatrix, Weight } from "../../lib/tensor/tensor.ts";
import { now } from "../now.ts";

/** Kernels with the inputs and outputs of one case. */
export interface Stage {
  readonly k: Kernels;
  /** N(0, std^2), a function of the name alone, at an odd offset; |.| of it on a stage of magnitudes. */
  normal(name: string, count: number, std?: number): Floats;
  /** These very values. */
  values(values: ArrayLike<number>): Floats;
  /** Room for results: filled with NaN, between sentinels. */
  output(count: number): Floats;
  /** Like `normal`, as the backend stores activations. */
  activation(name: string, count: number, std?: number): ActivationArray;
  /** Like `output`, as the backend stores activations. */
  activationOutput(count: number): ActivationArray;
  /** Like `normal`, `values` and `output`, in the host's memory, where rows live. */
  hostNormal(name: string, count: number, std?: number): Floats;
  hostValues(values: ArrayLike<number>): Floats;
  hostOutput(count: number): Floats;
  /** Like {@linkcode Stage.output}, in the host's memory. */
  intOutput(count: number): Int32Array;
  /** Like `values` and `output`, of streams in fixed point. */
  integers(values: Int32Array): Int32Array;
  integerOutput(count: number): Int32Array;
  /** A weight of normal values as stored in `dtype`; with a gradient of normal values when trained. */
  weight(
    name: string,
    rows: number,
    cols: number,
    dtype: StoredDType,
    options?: { trained?: boolean },
  ): Weight;
  /** A row matrix of normal values. */
  rowMatrix(name: string, rows: number, cols: number): RowMatrix;
  /** A row matrix of these values. */
  rowMatrixOf(values: ArrayLike<number>, rows: number, cols: number): RowMatrix;
  /**
   * What a kernel makes of values that it rounds to bf16 before it multiplies them: on the stage of an oracle that stands
   * for such a kernel rounded ones, elsewhere these very values. The same of weights, and of rows, of which it reads the
   * high halves.
   */
  rounded(values: Floats): Floats;
  roundedWeight(w: Weight): Weight;
  roundedRows(matrix: RowMatrix): RowMatrix;
  /** Whether an input of no elements was asked for: then there is nothing to compute. */
  readonly isEmpty: boolean;
  /** Fails when anything was written around an output or an input. */
  assertGuards(): void;
}

/** Types weights of a checkpoint are stored in. */
export type StoredDType = "f32" | "bf16" | "f16";

const GUARD = 69; // elements on each side, more than a tile is wide; odd, so that arrays start off any vector boundary
const SENTINEL = -7777.5;

/** FNV-1a, 32 bits: the random stream of a name. */
function streamOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const character of name) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  return hash;
}

/** What was drawn so far: the longest array of each stream and spread, of which a shorter one is the beginning. */
const longest = new Map<string, Float32Array>();

/** N(0, std^2), a function of the name alone. */
function drawnNormal(name: string, count: number, std: number): Float32Array {
  const key = `${std} ${name}`;
  let known = longest.get(key);
  if (known === undefined || known.length < count) {
    known = new Float32Array(count);
    randomNormal(known, 77, streamOf(name), std);
    longest.set(key, known);
  }
  return known.slice(0, count);
}

const toBf16 = (x: number): number => bf16ToFloat(floatToBf16(x));
/** As the planes of a row are split: halves up in magnitude. */
const toHighHalf = (x: number): number =>
  bf16ToFloat(((new Uint32Array(Float32Array.of(x).buffer)[0] as number) + 0x8000) >>> 16);

/** See {@linkcode createStage}. */
export interface StageOptions {
  readonly bf16Inputs?: boolean;
  readonly absolute?: boolean;
  readonly rounds?: boolean;
}

/**
 * A stage over some kernels.
 *
 * @param options `bf16Inputs`: normal values are rounded to bf16, so that products of a backend that rounds its inputs
 *   to bf16 are those of the oracle, and the f32 bound holds for both. `absolute`: the stage of magnitudes. `rounds`: the
 *   oracle of kernels that round what they multiply.
 */
export function createStage(
  k: Kernels,
  options: StageOptions = {},
): Stage {
  const guardedArrays: (ActivationArray | Int32Array)[] = [];
  const guard = <A extends ActivationArray | Int32Array>(all: A, count: number): A => {
    guardedArrays.push(all);
    return all.subarray(GUARD, GUARD + count) as A;
  };
  const fresh = (count: number): Floats =>
    k.floats(count + 2 * GUARD).fill(SENTINEL).fill(NaN, GUARD, GUARD + count);
  // Where the model works: on a device, out of reach.
  const output = (count: number): Floats => {
    const all = k.modelFloats(count + 2 * GUARD, "activations");
    k.copy(all, fresh(count));
    return guard(all, count);
  };
  const activationOutput = (count: number): ActivationArray => {
    if (k.activationDType !== "bf16") return output(count);
    const all = k.modelActivations(count + 2 * GUARD, "activations") as Uint16Array;
    k.copy(
      all,
      new Uint16Array(all.length).fill(floatToBf16(SENTINEL)).fill(floatToBf16(NaN), GUARD, GUARD + count),
    );
    return guard(all, count);
  };
  const hostOutput = (count: number): Floats => guard(fresh(count), count);
  const hostValues = (data: ArrayLike<number>): Floats => {
    const array = hostOutput(data.length);
    array.set(data);
    return array;
  };
  const values = (data: ArrayLike<number>): Floats => {
    const array = output(data.length);
    const from = k.floats(data.length);
    from.set(data);
    k.copy(array, from);
    return array;
  };
  const integerOutput = (count: number): Int32Array => {
    const all = k.arenaIntegers(count + 2 * GUARD);
    k.copy(all, new Int32Array(all.length).fill(SENTINEL));
    return guard(all, count);
  };
  const integers = (data: Int32Array): Int32Array => {
    isEmpty ||= data.length === 0;
    const array = integerOutput(data.length);
    k.copy(array, data);
    return array;
  };
  let isEmpty = false;
  const drawn = (name: string, count: number, std: number): Float32Array => {
    isEmpty ||= count === 0;
    const values = drawnNormal(name, count, std);
    return options.absolute ? values.map(Math.abs) : values;
  };
  const input = (name: string, count: number, std: number) => {
    const values = drawn(name, count, std);
    return options.bf16Inputs ? values.map(toBf16) : values;
  };
  const normal = (name: string, count: number, std = 1) => values(input(name, count, std));
  const activation = (name: string, count: number, std = 1): ActivationArray => {
    if (k.activationDType !== "bf16") return normal(name, count, std);
    const array = activationOutput(count);
    k.copy(array, Uint16Array.from(input(name, count, std), floatToBf16));
    return array;
  };
  const rowMatrixOf = (data: ArrayLike<number>, rows: number, cols: number): RowMatrix => {
    const matrix = k.rowMatrix(rows, cols);
    k.rowMatrixWrite(matrix, hostValues(data), 0);
    return matrix;
  };
  return {
    k,
    normal,
    values,
    output,
    activation,
    activationOutput,
    hostNormal: (name, count, std = 1) => hostValues(input(name, count, std)),
    hostValues,
    hostOutput,
    intOutput: (count) => guard(new Int32Array(count + 2 * GUARD).fill(SENTINEL), count),
    integers,
    integerOutput,
    weight: (name, rows, cols, dtype, { trained = false } = {}) => ({
      name,
      dtype,
      rows,
      cols,
      data: stored(input(name, rows * cols, 1), dtype),
      mapped: null,
      grad: trained ? normal(`${name}.grad`, rows * cols) : null,
    }),
    rowMatrix: (name, rows, cols) => rowMatrixOf(input(name, rows * cols, 1), rows, cols),
    rowMatrixOf,
    rounded: (array) => options.rounds ? array.map(toBf16) : array,
    roundedWeight: (w) => options.rounds ? { ...w, dtype: "f64", data: weightValues(w).map(toBf16) } : w,
    roundedRows(matrix) {
      if (!options.rounds) return matrix;
      const values = k.floats(matrix.rows * matrix.cols);
      k.rowMatrixRead(values, matrix, 0);
      return rowMatrixOf(values.map(toHighHalf), matrix.rows, matrix.cols);
    },
    get isEmpty() {
      return isEmpty;
    },
    assertGuards() {
      for (const array of guardedArrays) {
        const all = now(k.read(array));
        const sentinel = all instanceof Int32Array
          ? Math.trunc(SENTINEL)
          : all instanceof Uint16Array
          ? floatToBf16(SENTINEL)
          : SENTINEL;
        const around = [...all.subarray(0, GUARD), ...all.subarray(all.length - GUARD)];
        assert.ok(around.every((x) => x === sentinel), `wrote around an array of ${all.length - 2 * GUARD}`);
      }
    },
  };
}

function stored(values: Float32Array, dtype: StoredDType): Float32Array | Uint16Array {
  if (dtype === "f32") return values;
  return Uint16Array.from(values, dtype === "bf16" ? floatToBf16 : floatToF16);
}

/** |values| of a weight as stored. */
export function weightMagnitudes(w: Weight): Float64Array {
  return weightValues(w).map(Math.abs);
}

/** The oracle's stage. */
export function referenceStage(options: StageOptions = {}): Stage {
  return createStage(referenceKernels(), options);
}

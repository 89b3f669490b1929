// SPDX-License-Identifier: Apache-2.0
/** Weights as the library sees them: a descriptor, and an array unless the weight lies in a mapped file. */
import { writeWeightParams } from "../../native/structs.ts";
import { MEFT_BF16, MEFT_F16, MEFT_F32 } from "../../native/symbols.ts";
import type { Weight } from "../../tensor/tensor.ts";
import { room } from "./arguments.ts";

/** The two arguments that stand for a weight in a call. */
export interface NativeWeight {
  /** Null when the descriptor names a mapped file. */
  readonly data: Float32Array | Uint16Array | null;
  /** A `meft_weight`. */
  readonly descriptor: Uint8Array<ArrayBuffer>;
}

const DTYPES = { f32: MEFT_F32, bf16: MEFT_BF16, f16: MEFT_F16 } as const;
const ELEMENT_BYTES = { f32: 4, bf16: 2, f16: 2 } as const;

// Weights are records that never change, so each is described once: a hot call allocates nothing.
const described = new WeakMap<Weight, NativeWeight>();

/**
 * The arguments of a weight.
 *
 * @throws {TypeError} When the library cannot read the weight's type
 * @throws {RangeError} When its data and its sizes disagree
 */
export function nativeWeight(weight: Weight): NativeWeight {
  const known = described.get(weight);
  if (known !== undefined) return known;
  const native = describe(weight);
  described.set(weight, native);
  return native;
}

/** Like {@linkcode nativeWeight} for a vector of `count` elements. */
export function nativeVector(weight: Weight, count: number): NativeWeight {
  if (weight.rows !== 1 || weight.cols !== count) {
    throw new RangeError(`"${weight.name}" is (${weight.rows},${weight.cols}), expected (1,${count})`);
  }
  return nativeWeight(weight);
}

function describe(weight: Weight): NativeWeight {
  const { name, dtype, rows, cols, data, mapped } = weight;
  if (dtype === "f64") {
    throw new TypeError(
      `"${name}" is f64: native kernels read f32, bf16 and f16; f64 is for the reference backend`,
    );
  }
  if ((data === null) === (mapped === null)) {
    throw new RangeError(
      `"${name}" must have either data or a mapped file, it has ${data ? "both" : "neither"}`,
    );
  }
  return {
    data: data && checkedData(weight, dtype, data),
    descriptor: writeWeightParams({
      dtype: DTYPES[dtype],
      rows,
      cols,
      rowStride: cols,
      handle: mapped?.handle ?? 0n,
      offsetBytes: mapped?.offsetBytes ?? 0,
    }),
  };
}

function checkedData(
  weight: Weight,
  dtype: keyof typeof DTYPES,
  data: NonNullable<Weight["data"]>,
): Float32Array | Uint16Array {
  if (data instanceof Float64Array || data.BYTES_PER_ELEMENT !== ELEMENT_BYTES[dtype]) {
    throw new TypeError(`"${weight.name}" is ${dtype} in a ${data.constructor.name}`);
  }
  return room(`"${weight.name}"`, data, weight.rows * weight.cols);
}

// SPDX-License-Identifier: Apache-2.0
/** Reads tensors of safetensors files into typed arrays. */
import type { DType } from "../core/dtype.ts";
import { UserError } from "../core/errors.ts";
import { formatShape } from "../core/shape.ts";
import { bf16ToFloat, f16ToFloat } from "../core/half.ts";
import { hostArray } from "../native/host_memory.ts";
import { openForReading, readBytesAt, type TensorEntry } from "./safetensors.ts";

/** Typed arrays by element type; 16-bit floats are carried as their bits. */
export interface ArrayByDType {
  readonly f32: Float32Array<ArrayBuffer>;
  readonly f64: Float64Array<ArrayBuffer>;
  readonly bf16: Uint16Array<ArrayBuffer>;
  readonly f16: Uint16Array<ArrayBuffer>;
  readonly i32: Int32Array<ArrayBuffer>;
  readonly i16: Int16Array<ArrayBuffer>;
  readonly u16: Uint16Array<ArrayBuffer>;
  readonly u8: Uint8Array<ArrayBuffer>;
  readonly i64: BigInt64Array<ArrayBuffer>;
}

const VIEWS: { readonly [D in DType]: (buffer: ArrayBuffer) => ArrayByDType[D] } = {
  f32: (buffer) => new Float32Array(buffer),
  f64: (buffer) => new Float64Array(buffer),
  bf16: (buffer) => new Uint16Array(buffer),
  f16: (buffer) => new Uint16Array(buffer),
  i32: (buffer) => new Int32Array(buffer),
  i16: (buffer) => new Int16Array(buffer),
  u16: (buffer) => new Uint16Array(buffer),
  u8: (buffer) => new Uint8Array(buffer),
  i64: (buffer) => new BigInt64Array(buffer),
};

/**
 * Reads a whole tensor of a known dtype and shape.
 *
 * @param shape What is expected, or null when any will do
 * @throws {UserError} When dtype or shape differ, naming file, tensor and both
 */
export function readTensor<D extends DType>(
  entry: TensorEntry,
  dtype: D,
  shape: readonly number[] | null = null,
): ArrayByDType[D] {
  if (entry.dtype !== dtype) {
    throw new UserError(`Tensor "${entry.name}" of ${entry.path} is ${entry.dtype}, expected ${dtype}`);
  }
  if (shape !== null && formatShape(shape) !== formatShape(entry.shape)) {
    throw new UserError(
      `Tensor "${entry.name}" of ${entry.path} has shape ${formatShape(entry.shape)}, expected ${
        formatShape(shape)
      }`,
    );
  }
  return VIEWS[dtype](readBytes(entry).buffer);
}

/**
 * Reads a floating-point tensor of any stored type, widened (exactly, except f64 to f32) into `out`.
 *
 * @mutates out
 * @throws {UserError} When the tensor holds no floats, or another number of elements than `out`
 */
export function readFloatsInto(out: Float32Array | Float64Array, entry: TensorEntry): void {
  const values = numbersOf(entry, readBytes(entry).buffer);
  if (values.length !== out.length) {
    throw new UserError(
      `Tensor "${entry.name}" of ${entry.path} has ${values.length} elements, expected ${out.length}`,
    );
  }
  const convert = FLOAT_VALUES[entry.dtype as FloatDType];
  if (convert === "as stored") out.set(values);
  else for (let i = 0; i < out.length; i++) out[i] = convert(values[i] as number);
}

/**
 * A piece of a floating-point tensor's bytes as numbers, exactly.
 *
 * @param bytes Whole elements, from the start of their buffer
 * @throws {UserError} When the tensor holds no floats
 */
export function floatsOf(entry: TensorEntry, bytes: Uint8Array<ArrayBuffer>): Float64Array {
  const values = numbersOf(entry, bytes.buffer);
  const convert = FLOAT_VALUES[entry.dtype as FloatDType];
  return Float64Array.from(values, convert === "as stored" ? undefined : convert);
}

/** Elements as stored: 16-bit floats as their bits. */
function numbersOf(entry: TensorEntry, buffer: ArrayBuffer): ArrayByDType[FloatDType] {
  if (Object.hasOwn(FLOAT_VALUES, entry.dtype)) return VIEWS[entry.dtype as FloatDType](buffer);
  throw new UserError(
    `Tensor "${entry.name}" of ${entry.path} is ${entry.dtype}, expected f32, f64, bf16 or f16`,
  );
}

type FloatDType = "f32" | "f64" | "bf16" | "f16";

const FLOAT_VALUES: Readonly<Record<FloatDType, "as stored" | ((half: number) => number)>> = {
  f32: "as stored",
  f64: "as stored",
  bf16: bf16ToFloat,
  f16: f16ToFloat,
};

/** The bytes of a tensor, as stored. */
export function readBytes(entry: TensorEntry): Uint8Array<ArrayBuffer> {
  if (entry.memory) return entry.memory.slice();
  const bytes = hostArray<Uint8Array<ArrayBuffer>>(
    Uint8Array,
    entry.bytes,
    `tensor "${entry.name}" of ${entry.path}`,
  );
  const file = openForReading(entry.path);
  try {
    readBytesAt(file, entry.path, bytes, entry.offsetBytes);
  } finally {
    file.close();
  }
  return bytes;
}

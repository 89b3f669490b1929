// SPDX-License-Identifier: Apache-2.0
/** The arrays behind a training state, named: written to a checkpoint as they are, and read back into place. */
import type { DType } from "../core/dtype.ts";
import { UserError } from "../core/errors.ts";
import { formatShape } from "../core/shape.ts";
import type { OptimizerState } from "../optim/optimizer.ts";
import { type Parameter, parameterShape } from "../optim/parameters.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { writeFloats } from "../ops/model_memory.ts";
import type { Floats } from "../tensor/tensor.ts";
import { openForReading, readBytesAt, readSafetensorsHeader } from "../tensor/safetensors.ts";
import type { TensorSource } from "../tensor/write_safetensors.ts";

/** An array of the state; it may lie on a device. */
export interface NamedArray extends TensorSource {
  readonly data: Stored & ArrayBufferView<ArrayBuffer>;
}

type Stored =
  | Float32Array
  | Float64Array
  | Int32Array
  | Int16Array
  | Uint16Array;

function dtypeOf(data: Stored): DType {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Float64Array) return "f64";
  if (data instanceof Int32Array) return "i32";
  return data instanceof Int16Array ? "i16" : "u16";
}

function named(name: string, shape: readonly number[], data: Stored): NamedArray {
  return { name, dtype: dtypeOf(data), shape, data: data as Stored & ArrayBufferView<ArrayBuffer> };
}

/** Masters of all parameters: rows as their planes, so that nothing is rounded or joined. */
export function parameterArrays(parameters: readonly Parameter[]): NamedArray[] {
  return parameters.flatMap((parameter) => {
    const shape = parameterShape(parameter);
    if (parameter.kind === "dense") return [named(parameter.name, shape, parameter.data)];
    const { hi, lo, full } = parameter.matrix;
    if (full !== null) return [named(parameter.name, shape, full)];
    return [named(`${parameter.name}.hi`, shape, hi), named(`${parameter.name}.lo`, shape, lo)];
  });
}

/** Moments, last steps and the learning rates of the steps taken. */
export function optimizerArrays(
  parameters: readonly Parameter[],
  state: OptimizerState,
  step: number,
): NamedArray[] {
  const arrays = parameters.flatMap((parameter) => {
    const moments = state.moments.get(parameter.name);
    if (!moments) return [];
    const shape = parameterShape(parameter);
    const { m, v, lastStep } = moments;
    const pair = [named(`${parameter.name}.m`, shape, m), named(`${parameter.name}.v`, shape, v)];
    return lastStep ? [...pair, named(`${parameter.name}.last_step`, [lastStep.length], lastStep)] : pair;
  });
  return [...arrays, named("lr_history", [step], state.lrHistory.subarray(0, step))];
}

/** The arrays as they are written: those of a device are read when their turn comes, one at a time. */
export function readSources(k: Kernels, arrays: readonly NamedArray[]): TensorSource[] {
  return arrays.map((array) => ({
    ...array,
    data: () => [isFloats(array.data) ? k.read(array.data) : array.data],
  }));
}

function isFloats(data: Stored): data is Floats & Stored {
  return data instanceof Float32Array || data instanceof Float64Array;
}

/** Bytes of all arrays. */
export function arrayBytes(arrays: readonly NamedArray[]): number {
  return arrays.reduce((sum, { data }) => sum + data.byteLength, 0);
}

/**
 * Reads a file written from these arrays back into them.
 *
 * @mutates arrays' data
 * @throws {UserError} When a tensor is missing, unknown, or of another type or shape
 */
export function readArraysInto(k: Kernels, path: string, arrays: readonly NamedArray[]): void {
  const { tensors } = readSafetensorsHeader(path);
  const strangers = [...tensors.keys()].filter((name) => !arrays.some((array) => array.name === name));
  if (strangers.length > 0) {
    throw new UserError(`${path} holds tensors of another run: ${strangers.join(", ")}`);
  }
  const file = openForReading(path);
  try {
    for (const { name, dtype, shape, data } of arrays) {
      const entry = tensors.get(name);
      if (!entry || entry.dtype !== dtype || formatShape(entry.shape) !== formatShape(shape)) {
        const found = entry ? `${entry.dtype} ${formatShape(entry.shape)}` : "missing";
        throw new UserError(
          `Tensor "${name}" of ${path} is ${found}, expected ${dtype} ${formatShape(shape)}`,
        );
      }
      const read = (into: Stored): void => {
        const bytes = new Uint8Array(into.buffer as ArrayBuffer, into.byteOffset, into.byteLength);
        readBytesAt(file, path, bytes, entry.offsetBytes);
      };
      if (isFloats(data)) writeFloats(k, data, read);
      else read(data);
    }
  } finally {
    file.close();
  }
}

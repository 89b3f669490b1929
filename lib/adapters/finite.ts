// SPDX-License-Identifier: Apache-2.0
/** An adapter's parameters as tensors that can be searched for values that are no numbers. */
import { andThen, type Awaitable } from "../core/awaitable.ts";
import { type Parameter, parameterShape } from "../optim/parameters.ts";
import type { RowKernels } from "../ops/kernels/rows.ts";
import type { Place } from "../ops/kernels/place.ts";
import type { FloatPiece, FloatSource } from "../tensor/finite.ts";
import type { Floats } from "../tensor/tensor.ts";
import type { AdapterParams } from "./adapter.ts";

/** Rows that are joined from their planes at a time. */
const ROWS_PER_PIECE = 1024;

/** All parameters, by the names they are saved by. */
export function parameterSources(
  k: RowKernels & Place,
  { parameters, source = "the adapter" }: AdapterParams,
): FloatSource[] {
  return parameters.map((parameter) => ({
    name: parameter.name,
    file: source,
    shape: parameterShape(parameter),
    pieces: () => pieces(k, parameter),
  }));
}

function* pieces(k: RowKernels & Place, parameter: Parameter): Generator<Awaitable<FloatPiece>> {
  if (parameter.kind === "dense") return yield andThen(k.read(parameter.data), asPiece);
  const { matrix } = parameter;
  const buffer = k.floats(Math.min(matrix.rows, ROWS_PER_PIECE) * matrix.cols);
  for (let row = 0; row < matrix.rows; row += ROWS_PER_PIECE) {
    const piece = buffer.subarray(0, Math.min(ROWS_PER_PIECE, matrix.rows - row) * matrix.cols);
    k.rowMatrixRead(piece, matrix, row);
    yield asPiece(piece);
  }
}

function asPiece(data: Floats): FloatPiece {
  return data instanceof Float32Array ? { dtype: "f32", data } : { dtype: "f64", data };
}

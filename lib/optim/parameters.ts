// SPDX-License-Identifier: Apache-2.0
/** What an optimizer sees of an adapter: a flat list of named parameters of two kinds, dense and by rows. */
import type { Place } from "../ops/kernels/place.ts";
import type { TouchedRows } from "../ops/kernels/rows.ts";
import { clearTouchedRows } from "../ops/row_gradients.ts";
import { type Floats, numel, type RowMatrix } from "../tensor/tensor.ts";

/** A parameter that every step reads and updates whole. */
export interface DenseParameter {
  readonly kind: "dense";
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Floats;
  /** Same size as `data`; null when frozen, or when nothing is trained now. */
  readonly grad: Floats | null;
}

/** The gradient of a matrix of which a step touches few rows. */
export interface RowGradient {
  /** Which rows it has, and in what order. Matrices whose rows are touched together share it. */
  readonly touched: TouchedRows;
  /** (slots, cols), of which those of touched rows are in use. Another array once more rows are touched than fit. */
  readonly rows: Floats;
}

/** A parameter of which a step touches few rows. */
export interface RowParameter {
  readonly kind: "rows";
  readonly name: string;
  readonly matrix: RowMatrix;
  /** Null when frozen. */
  readonly gradient: RowGradient | null;
}

/** A named parameter. Names are unique within an adapter, and the order of a list is fixed. */
export type Parameter = DenseParameter | RowParameter;

/** Elements of a parameter. */
export function parameterCount(parameter: Parameter): number {
  return numel(parameterShape(parameter));
}

/** Shape of a parameter. */
export function parameterShape(parameter: Parameter): readonly number[] {
  return parameter.kind === "dense" ? parameter.shape : [parameter.matrix.rows, parameter.matrix.cols];
}

/** Whether the optimizer moves this parameter. */
export function isTrained(parameter: Parameter): boolean {
  return (parameter.kind === "dense" ? parameter.grad : parameter.gradient) !== null;
}

/** The gradient as far as it is in use: all of a dense one, the touched rows of the other kind. */
export function liveGradient(parameter: Parameter): Floats {
  if (parameter.kind === "dense") return parameter.grad ?? refuseFrozen(parameter);
  const { touched, rows } = parameter.gradient ?? refuseFrozen(parameter);
  return rows.subarray(0, touched.rowCount * parameter.matrix.cols);
}

function refuseFrozen({ name }: Parameter): never {
  throw new RangeError(`Parameter "${name}" is frozen: it has no gradient`);
}

/** Sets all gradients to zero. @mutates parameters' gradients */
export function clearGradients(k: Place, parameters: readonly Parameter[]): void {
  for (const parameter of parameters) {
    if (parameter.kind === "dense") { if (parameter.grad) k.zero(parameter.grad); }
    else if (parameter.gradient) clearTouchedRows(parameter.gradient.touched);
  }
}

// SPDX-License-Identifier: Apache-2.0
/** What an optimizer sees of an adapter: a flat list of named parameters of two kinds, dense and by rows. */
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { RowGradients } from "../ops/kernels/rows.ts";
import { clearRowGradients } from "../ops/row_gradients.ts";
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

/** A parameter of which a step touches few rows. */
export interface RowParameter {
  readonly kind: "rows";
  readonly name: string;
  readonly matrix: RowMatrix;
  /** Which gradients of the owner belong to this matrix. */
  readonly part: "keys" | "values";
  /** Holds the row gradients, which are replaced when they grow. */
  readonly owner: { readonly gradients: RowGradients };
  readonly trained: boolean;
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
  return parameter.kind === "dense" ? parameter.grad !== null : parameter.trained;
}

/** The gradient as far as it is in use: all of a dense one, the touched rows of the other kind. */
export function liveGradient(parameter: Parameter): Floats {
  if (parameter.kind === "dense") {
    if (!parameter.grad) throw new RangeError(`Parameter "${parameter.name}" is frozen: it has no gradient`);
    return parameter.grad;
  }
  const { gradients } = parameter.owner;
  const rows = parameter.part === "keys" ? gradients.keys : gradients.values;
  if (!rows) throw new RangeError(`Parameter "${parameter.name}" is frozen: it has no gradient`);
  return rows.subarray(0, gradients.rowCount * parameter.matrix.cols);
}

/** Sets all gradients to zero. @mutates parameters' gradients */
export function clearGradients(k: Kernels, parameters: readonly Parameter[]): void {
  for (const parameter of parameters) {
    if (parameter.kind === "rows") clearRowGradients(parameter.owner.gradients);
    else if (parameter.grad) k.zero(parameter.grad);
  }
}

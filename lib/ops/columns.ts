// SPDX-License-Identifier: Apache-2.0
/** Matrices side by side: what one product computes for several readers. */
import { assertShape } from "../core/shape.ts";
import type { Activation } from "../tensor/tensor.ts";
import { arenaLike, rowsOf } from "./arena_tensor.ts";
import type { Place } from "./kernels/place.ts";

/**
 * Copies the columns of x into matrices, one after the other: x = (parts[0] | parts[1] | ...). Its backward pass is
 * {@linkcode joinColumns}.
 *
 * @param x (T,C) read     @param parts (T,width) of x's type, whose widths add up to C: written
 * @mutates parts
 * @throws {RangeError} When shapes disagree, naming both
 */
export function splitColumns<A extends Activation>(k: Place, x: A, parts: readonly A[]): void {
  copyColumns(x, parts, (whole, part) => k.copy(part, whole));
}

/**
 * Matrices as the columns of one. Its backward pass is {@linkcode splitColumns}.
 *
 * @param parts (T,width) of one type, read     @returns (T,C) of their type, in the arena
 * @throws {RangeError} When shapes disagree, naming both
 */
export function joinColumns<A extends Activation>(k: Place, parts: readonly A[]): A {
  const first = parts[0] as A;
  const x = arenaLike(k, first, [rowsOf(first), parts.reduce((sum, part) => sum + widthOf(part), 0)]);
  copyColumns(x, parts, (whole, part) => k.copy(whole, part));
  return x;
}

function copyColumns<A extends Activation>(
  x: A,
  parts: readonly A[],
  copy: (whole: A["data"], part: A["data"]) => void,
): void {
  const [rows, columns] = [rowsOf(x), widthOf(x)];
  assertShape("x of columns", x.shape, [rows, parts.reduce((sum, part) => sum + widthOf(part), 0)], "T,C");
  let begin = 0;
  for (const part of parts) {
    const width = widthOf(part);
    assertShape("part of columns", part.shape, [rows, width], "T,width");
    for (let t = 0; t < rows; t++) {
      const at = t * columns + begin;
      copy(x.data.subarray(at, at + width), part.data.subarray(t * width, (t + 1) * width));
    }
    begin += width;
  }
}

function widthOf({ shape }: Activation): number {
  return shape.at(-1) ?? 0;
}

// SPDX-License-Identifier: Apache-2.0
/** Matrices side by side: what one product computes for several readers. */
import { assertShape } from "../core/shape.ts";
import type { Activation } from "../tensor/tensor.ts";
import { arenaLike, rowsOf } from "./arena_tensor.ts";
import { gatherRows } from "./experts.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/**
 * Copies the columns of x into matrices, one after the other: x = (parts[0] | parts[1] | ...). Its backward pass is
 * {@linkcode joinColumns}.
 *
 * @param x (T,C) read     @param parts (T,width) of x's type, whose widths add up to C: written
 * @mutates parts
 * @throws {RangeError} When shapes disagree, naming both
 */
export function splitColumns<A extends Activation>(k: ModelKernels & Place, x: A, parts: readonly A[]): void {
  const layout = layOut(parts);
  assertShape("x of columns", x.shape, [layout.tokens, layout.columns], "T,C");
  parts.forEach((part, i) => {
    gatherRows(k, inUnits(x, layout), unitsOf(layout, i), { into: inUnits(part, layout) });
  });
}

/**
 * Matrices as the columns of one. Its backward pass is {@linkcode splitColumns}.
 *
 * @param parts (T,width) of one type, read     @returns (T,C) of their type, in the arena
 * @throws {RangeError} When shapes disagree, naming both
 */
export function joinColumns<A extends Activation>(k: ModelKernels & Place, parts: readonly A[]): A {
  const layout = layOut(parts);
  const { tokens, columns } = layout;
  const x = arenaLike(k, parts[0] as A, [tokens, columns]);
  const mark = k.arena.mark();
  const behind = arenaLike(k, x, [tokens * columns / layout.unit, layout.unit]);
  const rows = new Int32Array(behind.shape[0] ?? 0);
  let begin = 0;
  parts.forEach((part, i) => {
    k.copy(behind.data.subarray(begin * layout.unit, begin * layout.unit + part.data.length), part.data);
    const units = unitsOf(layout, i);
    units.forEach((at, unit) => rows[at] = begin + unit);
    begin += units.length;
  });
  gatherRows(k, behind, rows, { into: inUnits(x, layout) });
  k.arena.release(mark);
  return x;
}

/** Matrices side by side, seen as rows of the widest unit that divides all. */
interface Layout {
  readonly tokens: number;
  readonly columns: number;
  readonly unit: number;
  /** First column of each, and what follows the last. */
  readonly begins: readonly number[];
}

function layOut(parts: readonly Activation[]): Layout {
  const tokens = rowsOf(parts[0] as Activation);
  const begins = [0];
  for (const { shape } of parts) {
    assertShape("part of columns", shape, [tokens, shape.at(-1) ?? 0], "T,width");
    begins.push((begins.at(-1) as number) + (shape.at(-1) ?? 0));
  }
  const columns = begins.at(-1) as number;
  return { tokens, columns, unit: Math.max(1, begins.reduce(commonDivisor, 0)), begins };
}

function inUnits<A extends Activation>({ data }: A, { unit }: Layout): A {
  return { shape: [data.length / unit, unit], data } as Activation as A;
}

/** Where each unit of a part lies among those of all, row by row. */
function unitsOf({ tokens, columns, unit, begins }: Layout, part: number): Int32Array {
  const [begin = 0, end = 0] = begins.slice(part, part + 2).map((column) => column / unit);
  const width = end - begin;
  return Int32Array.from(
    { length: tokens * width },
    (_, i) => Math.floor(i / width) * (columns / unit) + begin + i % width,
  );
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}

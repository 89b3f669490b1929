// SPDX-License-Identifier: Apache-2.0
/** Compact gradients of a huge matrix: only rows that were touched have a place, and the places grow as needed. */
import { account } from "../native/ledger.ts";
import type { Floats } from "../tensor/tensor.ts";
import type { Place } from "./kernels/place.ts";
import type { RowGradients, TouchedRows } from "./kernels/rows.ts";

/** Bytes of an element of a float array. */
function floatBytes(array: Floats | null): number {
  return array?.byteLength ?? 0;
}

/**
 * Gradients of a sparse adapter's rows, none touched yet.
 *
 * @param neurons Rows R of the keys and values     @param hidden Their columns D
 * @param options `keys`: whether keys are trained; `slots`: places to begin with (more are made when needed)
 */
export function createRowGradients(
  k: Place,
  neurons: number,
  hidden: number,
  options: { readonly keys: boolean; readonly slots?: number },
): RowGradients {
  const count = Math.min(neurons, options.slots ?? 0) * hidden;
  const gradients = {
    slots: k.indices(neurons).fill(-1),
    rows: k.indices(neurons),
    rowCount: 0,
    keys: options.keys ? k.floats(count) : null,
    values: k.floats(count),
  };
  account(k.ledger, "gradients", rowGradientBytes(gradients));
  return gradients;
}

/** Bytes that the gradients hold, used or not. */
export function rowGradientBytes(gradients: RowGradients): number {
  const { slots, rows, keys, values } = gradients;
  return slots.byteLength + rows.byteLength + floatBytes(keys) + floatBytes(values);
}

/** Forgets what was touched and keeps the memory: the next touched rows are written, not added to. @mutates gradients */
export function clearTouchedRows(touched: TouchedRows): void {
  for (let slot = 0; slot < touched.rowCount; slot++) touched.slots[touched.rows[slot] as number] = -1;
  touched.rowCount = 0;
}

/**
 * Gradients with room for `added` more rows, as far as there are that many: the same object when there is room, else a larger
 * copy (half as much again, so that growing stays rare).
 */
export function growRowGradients(
  k: Place,
  gradients: RowGradients,
  added: number,
  hidden: number,
): RowGradients {
  const { rowCount, slots } = gradients;
  const needed = Math.min(slots.length, rowCount + added);
  if (needed * hidden <= gradients.values.length) return gradients;
  const room = Math.min(slots.length, Math.ceil(needed * 1.5)) * hidden;
  const grow = (from: Floats): Floats => {
    const to = k.floats(room);
    to.set(from.subarray(0, rowCount * hidden));
    return to;
  };
  const grown: RowGradients = {
    slots,
    rows: gradients.rows,
    rowCount,
    keys: gradients.keys && grow(gradients.keys),
    values: grow(gradients.values),
  };
  // Both live while rows are copied, so the peak counts both.
  account(k.ledger, "gradients", floatBytes(grown.keys) + floatBytes(grown.values));
  account(k.ledger, "gradients", -floatBytes(gradients.keys) - floatBytes(gradients.values));
  return grown;
}

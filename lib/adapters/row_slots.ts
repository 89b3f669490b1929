// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of a layer where the model is: keys and values in slots, with room for their gradients, which are added to the layer's
 * own when a row gives up its slot or the step ends. Rows travel as matrix products read them: bf16, or f32.
 */
import { account } from "../native/ledger.ts";
import type { Kernels } from "../ops/kernels.ts";
import { growRowGradients } from "../ops/row_gradients.ts";
import type { SparseParams } from "../ops/sparse.ts";
import type { Floats, RowMatrix, Weight } from "../tensor/tensor.ts";
import { type CacheCounts, createRowCache, type SlotRow } from "./row_cache.ts";

/** What travelled between the rows and their slots. */
export interface RowTraffic extends CacheCounts {
  upBytes: number;
  downBytes: number;
}

/** Slots of one layer. */
export interface RowSlots {
  readonly capacity: number;
  readonly traffic: Readonly<RowTraffic>;
  /** Brings rows, at most `capacity`; @returns the slot of each. */
  bring(rows: Int32Array): Int32Array;
  /** Slots in use, as matrices (slots,D) with their gradients. */
  matrices(): { readonly keys: Weight; readonly values: Weight };
  /** Gradients of these slots are about to be added to. */
  touch(slots: Int32Array): void;
  /** Adds all gradients to the layer's, and forgets the rows: they are about to change. @mutates params.gradients */
  collect(): void;
  /** Takes the memory out of the ledger. */
  release(): void;
}

/** Slots with nothing in them. @mutates k.ledger: "cache" until released */
export function createRowSlots(k: Kernels, params: SparseParams, capacity: number): RowSlots {
  const { keys, values } = params;
  const hidden = keys.cols;
  const cache = createRowCache(capacity, keys.rows);
  const trainedKeys = params.gradients.keys !== null;
  const rows = { keys: slotData(k, capacity * hidden), values: slotData(k, capacity * hidden) };
  const gradients = {
    keys: trainedKeys ? k.floats(capacity * hidden) : null,
    values: k.floats(capacity * hidden),
  };
  const dirty = new Uint8Array(capacity);
  const moved = { upBytes: 0, downBytes: 0 };
  const bytes = [rows.keys, rows.values, gradients.keys, gradients.values]
    .reduce((sum, array) => sum + (array?.byteLength ?? 0), 0);
  account(k.ledger, "cache", bytes);

  const part = <A extends Floats | Uint16Array>(array: A, slot: number): A =>
    array.subarray(slot * hidden, (slot + 1) * hidden) as A;
  const install = ({ row, slot }: SlotRow): void => {
    for (const name of ["keys", "values"] as const) {
      const to = part(rows[name], slot);
      readRow(k, to, name === "keys" ? keys : values, row);
      moved.upBytes += to.byteLength;
      const gradient = gradients[name];
      if (gradient) part(gradient, slot).fill(0);
    }
    dirty[slot] = 0;
  };
  const fetch = (from: readonly SlotRow[]): void => {
    const changed = from.filter(({ slot }) => dirty[slot] === 1).toSorted((a, b) => a.row - b.row);
    addRows(k, params, changed, gradients);
    for (const { slot } of changed) {
      dirty[slot] = 0;
      moved.downBytes += hidden * gradients.values.BYTES_PER_ELEMENT * (trainedKeys ? 2 : 1);
    }
  };
  const matrix = (name: "keys" | "values"): Weight => ({
    name: `${name} in slots`,
    dtype: k.compute,
    rows: cache.used,
    cols: hidden,
    data: rows[name].subarray(0, cache.used * hidden) as Weight["data"],
    mapped: null,
    grad: gradients[name]?.subarray(0, cache.used * hidden) as Floats | undefined ?? null,
  });
  return {
    capacity,
    get traffic() {
      return { ...cache.counts, ...moved };
    },
    bring(wanted) {
      const { slots, evicted, installed } = cache.take(wanted);
      fetch(evicted);
      installed.forEach(install);
      return slots;
    },
    matrices: () => ({ keys: matrix("keys"), values: matrix("values") }),
    touch: (slots) => slots.forEach((slot) => dirty[slot] = 1),
    collect() {
      fetch(cache.resident());
      cache.nextGeneration();
    },
    release: () => account(k.ledger, "cache", -bytes),
  };
}

/** Zeroed elements as the backend's matrix products read weights. */
function slotData(k: Kernels, count: number): Floats | Uint16Array {
  return k.compute === "bf16" ? new Uint16Array(count) : k.floats(count);
}

/** A row as products read it: the high halves in bf16, else the joined planes. */
function readRow(k: Kernels, to: Floats | Uint16Array, matrix: RowMatrix, row: number): void {
  if (to instanceof Uint16Array) to.set(matrix.hi.subarray(row * matrix.cols, (row + 1) * matrix.cols));
  else k.rowMatrixRead(to, matrix, row);
}

/** Adds gradients in slots to those of the layer, by increasing row. @mutates params.gradients */
function addRows(
  k: Kernels,
  params: SparseParams,
  from: readonly SlotRow[],
  slots: { readonly keys: Floats | null; readonly values: Floats },
): void {
  const hidden = params.keys.cols;
  params.gradients = growRowGradients(k, params.gradients, from.length, hidden);
  const { gradients } = params;
  const known = gradients.rowCount;
  k.sparseTouch(gradients, Int32Array.from(from, ({ row }) => row), from.length);
  for (const name of ["keys", "values"] as const) {
    const [to, of] = [gradients[name], slots[name]];
    if (!to || !of) continue;
    for (const { row, slot } of from) {
      const place = gradients.slots[row] as number;
      const target = to.subarray(place * hidden, (place + 1) * hidden);
      const added = of.subarray(slot * hidden, (slot + 1) * hidden);
      if (place >= known) target.set(added);
      else k.add(target, added);
    }
  }
}

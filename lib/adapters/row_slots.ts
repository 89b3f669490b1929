// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of a layer where the model is: keys and values in slots, with room for their gradients, which are added to the layer's
 * own when a row gives up its slot or the step ends. Rows travel as matrix products read them: bf16, or f32; neighbouring
 * slots in one copy.
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
    keys: trainedKeys ? k.modelFloats(capacity * hidden, "cache") : null,
    values: k.modelFloats(capacity * hidden, "cache"),
  };
  const dirty = new Uint8Array(capacity);
  const moved = { upBytes: 0, downBytes: 0 };
  const all = [rows.keys, rows.values, gradients.keys, gradients.values].filter((array) => array !== null);
  // A device keeps its own account.
  const bytes = k.device === null ? all.reduce((sum, array) => sum + array.byteLength, 0) : 0;
  account(k.ledger, "cache", bytes);

  const install = (slots: readonly SlotRow[]): void => {
    for (const name of ["keys", "values"] as const) {
      const gradient = gradients[name];
      for (const run of slotRuns(slots, hidden)) {
        const part = [run.begin * hidden, (run.begin + run.rows.length) * hidden] as const;
        const to = rows[name].subarray(...part);
        bringRows(k, to, name === "keys" ? keys : values, run.rows);
        moved.upBytes += to.byteLength;
        if (gradient) k.zero(gradient.subarray(...part));
      }
    }
    for (const { slot } of slots) dirty[slot] = 0;
  };
  const fetch = (from: readonly SlotRow[]): void => {
    const changed = from.filter(({ slot }) => dirty[slot] === 1).toSorted((a, b) => a.slot - b.slot);
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
      install(installed);
      return slots;
    },
    matrices: () => ({ keys: matrix("keys"), values: matrix("values") }),
    touch: (slots) => slots.forEach((slot) => dirty[slot] = 1),
    collect() {
      fetch(cache.resident());
      cache.nextGeneration();
    },
    release() {
      account(k.ledger, "cache", -bytes);
      for (const { buffer } of all) k.device?.release(buffer);
    },
  };
}

/** Elements where the model is, as its matrix products read weights. */
function slotData(k: Kernels, count: number): Floats | Uint16Array {
  if (k.compute !== "bf16") return k.modelFloats(count, "cache");
  return k.device === null ? new Uint16Array(count) : new Uint16Array(k.device.reserve(2 * count, "cache"));
}

/** Rows in neighbouring slots. */
interface SlotRun {
  readonly begin: number;
  readonly rows: number[];
}

/** Elements that travel in one copy at most. */
const RUN_ELEMENTS = 1 << 22;

/** Slots in increasing order, cut where a number is missing or a copy would be too large. */
function slotRuns(slots: readonly SlotRow[], hidden: number): SlotRun[] {
  const runs: SlotRun[] = [];
  for (const { row, slot } of slots) {
    const last = runs.at(-1);
    const joins = last !== undefined && last.begin + last.rows.length === slot &&
      (last.rows.length + 1) * hidden <= RUN_ELEMENTS;
    if (joins) last.rows.push(row);
    else runs.push({ begin: slot, rows: [row] });
  }
  return runs;
}

/** Rows as products read them: the high halves in bf16, else the joined planes. @mutates to */
function bringRows(k: Kernels, to: Floats | Uint16Array, matrix: RowMatrix, rows: readonly number[]): void {
  const { cols } = matrix;
  const away = k.device !== null;
  if (to instanceof Uint16Array) {
    const packed = away ? new Uint16Array(to.length) : to;
    rows.forEach((row, i) => packed.set(matrix.hi.subarray(row * cols, (row + 1) * cols), i * cols));
    if (away) k.device?.copy(to, packed);
    return;
  }
  const packed = away ? k.floats(to.length) : to;
  rows.forEach((row, i) => k.rowMatrixRead(packed.subarray(i * cols, (i + 1) * cols), matrix, row));
  if (away) k.copy(to, packed);
}

/** Adds gradients in slots, given in increasing order, to those of the layer. @mutates params.gradients */
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
  // By increasing row, so that the places of rows do not depend on their slots.
  k.sparseTouch(gradients, Int32Array.from(from, ({ row }) => row).sort(), from.length);
  for (const name of ["keys", "values"] as const) {
    const [to, of] = [gradients[name], slots[name]];
    if (!to || !of) continue;
    for (const { begin, rows } of slotRuns(from, hidden)) {
      const arrived = k.read(of.subarray(begin * hidden, (begin + rows.length) * hidden));
      rows.forEach((row, i) => {
        const place = gradients.slots[row] as number;
        const target = to.subarray(place * hidden, (place + 1) * hidden);
        const added = arrived.subarray(i * hidden, (i + 1) * hidden);
        if (place >= known) target.set(added);
        else k.add(target, added);
      });
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of a layer where the model is: keys and values in slots, with room for their gradients, which are added to the layer's
 * own when a row gives up its slot or the step ends; and the router. Rows travel as matrix products read them, bf16 or f32:
 * the host lane packs them into the link's memory, from where they are copied beside the model's work.
 */
import { account } from "../../native/ledger.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { growRowGradients } from "../../ops/row_gradients.ts";
import type { SparseParams } from "../../ops/sparse.ts";
import type { Floats, Weight } from "../../tensor/tensor.ts";
import { type CacheCounts, createRowCache, type SlotRow } from "./row_cache.ts";
import { createRouterCopy, type RouterCopy } from "./router_copy.ts";

/** What travelled between the rows and their slots. */
export interface RowTraffic extends CacheCounts {
  upBytes: number;
  downBytes: number;
}

/** Slots of one layer. */
export interface RowSlots {
  readonly capacity: number;
  readonly traffic: Readonly<RowTraffic>;
  /** The layer's router. */
  readonly router: RouterCopy;
  /** Brings rows, at most `capacity`; @returns the slot of each. */
  bring(rows: Int32Array): Promise<Int32Array>;
  /** Slots in use, as matrices (slots,D) with their gradients. */
  matrices(): { readonly keys: Weight; readonly values: Weight };
  /** Gradients of these slots are about to be added to. */
  touch(slots: Int32Array): void;
  /** Adds all gradients to the layer's, and forgets the rows: they are about to change. @mutates params.gradients, gateGrad */
  collect(): Promise<void>;
  /** Forgets rows and gradients. */
  forget(): void;
  /** Gives the memory back. */
  release(): void;
}

/** The two matrices that rows are of. */
const PARTS = ["keys", "values"] as const;
type Part = typeof PARTS[number];

/** Most bytes of rows that travel at once: what a place of the link's rings grows to. */
const PIECE_BYTES = 1 << 24;

/** A row's array. */
type RowArray = Floats | Uint16Array;

/** Slots with nothing in them. @mutates k.ledger: "cache" until released, where they are in the host's memory */
export function createRowSlots(k: Kernels, params: SparseParams, capacity: number): RowSlots {
  const hidden = params.keys.cols;
  const cache = createRowCache(k, capacity, params.keys.rows);
  const memory = slotMemory(k, capacity * hidden, params.gradients.keys !== null);
  const { rows, gradients } = memory;
  const router = createRouterCopy(k, params);
  const dirty = k.indices(capacity);
  const moved = { upBytes: 0, downBytes: 0 };
  const part = <A extends RowArray>(array: A, { slot, rows }: Run): A =>
    array.subarray(slot * hidden, (slot + rows.length) * hidden) as A;

  const install = async (run: Run): Promise<void> => {
    for (const name of PARTS) {
      const to = part(rows[name], run);
      const landing = k.link.landing(to);
      await landing.ready();
      await k.rowsGather(landing.data, params[name], run.rows);
      k.link.arrive(to);
      moved.upBytes += to.byteLength;
      const gradient = gradients[name];
      if (gradient) k.zero(part(gradient, run));
    }
    dirty.fill(0, run.slot, run.slot + run.rows.length);
  };
  const fetch = async (from: readonly SlotRow[]): Promise<void> => {
    const changed = from.filter(({ slot }) => dirty[slot] === 1);
    const known = takePlaces(k, params, changed);
    for (const run of runsOf(changed, rowsAtOnce(hidden, gradients.values))) {
      const places = run.rows.map((row) => params.gradients.slots[row] as number);
      const arrivals = PARTS.map((name) => {
        const gradient = gradients[name];
        return gradient && k.link.down(part(gradient, run));
      });
      for (const [i, name] of PARTS.entries()) {
        const [arrival, to] = [arrivals[i], params.gradients[name]];
        if (!arrival || !to) continue;
        await arrival.ready();
        await k.rowsAdd(to, arrival.data, places, hidden, known);
        moved.downBytes += arrival.data.byteLength;
        arrival.release();
      }
    }
  };
  const forget = (): void => {
    cache.nextGeneration();
    router.forget();
  };
  const matrix = (name: Part): Weight => ({
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
    router,
    get traffic() {
      return { ...cache.counts, ...moved };
    },
    async bring(wanted) {
      const { slots, evicted, installed } = cache.take(wanted);
      await fetch(evicted);
      for (const run of runsOf(installed, rowsAtOnce(hidden, rows.keys))) await install(run);
      return slots;
    },
    matrices: () => ({ keys: matrix("keys"), values: matrix("values") }),
    touch: (slots) => slots.forEach((slot) => dirty[slot] = 1),
    async collect() {
      await fetch(cache.resident());
      await router.collect();
      forget();
    },
    forget,
    release() {
      memory.release();
      router.release();
    },
  };
}

/** Arrays of all slots, where the model works. */
function slotMemory(k: Kernels, count: number, trainedKeys: boolean) {
  const floats = (): Floats => k.modelFloats(count, "cache");
  // As products read them: of the type of activations, which is that of products.
  const rowArray = (): RowArray => k.modelActivations(count, "cache");
  const rows = { keys: rowArray(), values: rowArray() };
  const gradients = { keys: trainedKeys ? floats() : null, values: floats() };
  const all = [rows.keys, rows.values, gradients.keys, gradients.values].filter((array) => array !== null);
  const bytes = k.device === null ? all.reduce((sum, { byteLength }) => sum + byteLength, 0) : 0;
  account(k.ledger, "cache", bytes);
  return {
    rows,
    gradients,
    release() {
      account(k.ledger, "cache", -bytes);
      for (const { buffer } of all) k.device?.release(buffer);
    },
  };
}

/** Rows in slots one after the other. */
interface Run {
  /** The first slot. */
  readonly slot: number;
  readonly rows: Int32Array;
}

function rowsAtOnce(hidden: number, { BYTES_PER_ELEMENT }: RowArray): number {
  return Math.max(1, Math.floor(PIECE_BYTES / (hidden * BYTES_PER_ELEMENT)));
}

/** Pieces of neighbouring slots, of at most `most` rows: each travels in one copy. */
function runsOf(entries: readonly SlotRow[], most: number): Run[] {
  const sorted = entries.toSorted((a, b) => a.slot - b.slot);
  const runs: Run[] = [];
  let begin = 0;
  for (let i = 1; i <= sorted.length; i++) {
    const [last, next] = [sorted[i - 1] as SlotRow, sorted[i]];
    if (next && next.slot === last.slot + 1 && i - begin < most) continue;
    const piece = sorted.slice(begin, i);
    runs.push({ slot: (piece[0] as SlotRow).slot, rows: Int32Array.from(piece, ({ row }) => row) });
    begin = i;
  }
  return runs;
}

/**
 * Gives rows places among the layer's gradients, by increasing row; @returns the first new place. @mutates params.gradients
 */
function takePlaces(k: Kernels, params: SparseParams, changed: readonly SlotRow[]): number {
  params.gradients = growRowGradients(k, params.gradients, changed.length, params.keys.cols);
  const { gradients } = params;
  const known = gradients.rowCount;
  k.sparseTouch(gradients, Int32Array.from(changed, ({ row }) => row), changed.length);
  return known;
}

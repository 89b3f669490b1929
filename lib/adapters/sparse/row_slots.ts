// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of a layer where the model is: keys and values in slots, with room for their gradients, which are added to the layer's
 * own when a row gives up its slot or the step ends; and the router. Rows travel as matrix products read them, bf16 or f32:
 * the host lane packs them into the link's memory, from where they are copied beside the model's work.
 */
import { account } from "../../native/ledger.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { type CacheCounts, piecesOf, type SlotRun } from "../../ops/row_cache.ts";
import { growRowGradients } from "../../ops/row_gradients.ts";
import type { SparseParams } from "../../ops/sparse.ts";
import type { Floats, Weight } from "../../tensor/tensor.ts";
import { createRouterCopy, type RouterCopy } from "./router_copy.ts";

/** What travelled between the rows and their slots. */
export interface RowTraffic extends CacheCounts {
  upBytes: number;
  downBytes: number;
}

/** Where rows lie. Sums over slots go in the order of slots: their last bits are a matter of that. */
export interface RowsInSlots {
  /** Slot of each. */
  readonly slots: Int32Array;
  /** Slots that were in use. */
  readonly used: number;
}

/** Slots of one layer. */
export interface RowSlots {
  readonly capacity: number;
  readonly traffic: Readonly<RowTraffic>;
  /** The layer's router. */
  readonly router: RouterCopy;
  /** Brings rows, at most `capacity`, to where they lay `before`, if given; @returns where they lie. */
  bring(rows: Int32Array, before?: RowsInSlots): Promise<RowsInSlots>;
  /** Slots in use, or as many as are asked for, as matrices (slots,D) with their gradients. */
  matrices(slots?: number): { readonly keys: Weight; readonly values: Weight };
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
  const cache = k.rowCache(capacity, params.keys.rows);
  const memory = slotMemory(k, capacity * hidden, params.gradients.keys !== null);
  const { rows, gradients } = memory;
  const router = createRouterCopy(k, params);
  const moved = { upBytes: 0, downBytes: 0 };
  const part = <A extends RowArray>(array: A, { slot, rows }: SlotRun): A =>
    array.subarray(slot * hidden, (slot + rows.length) * hidden) as A;

  const install = async (run: SlotRun): Promise<void> => {
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
  };
  const fetch = async (changed: readonly SlotRun[]): Promise<void> => {
    const known = takePlaces(k, params, changed);
    for (const run of piecesOf(changed, rowsAtOnce(hidden, gradients.values))) {
      const places = k.indices(run.rows.length);
      run.rows.forEach((row, i) => places[i] = params.gradients.slots[row] as number);
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
  const matrix = (name: Part, used: number): Weight => ({
    name: `${name} in slots`,
    dtype: k.compute,
    rows: used,
    cols: hidden,
    data: rows[name].subarray(0, used * hidden) as Weight["data"],
    mapped: null,
    grad: gradients[name]?.subarray(0, used * hidden) as Floats | undefined ?? null,
  });
  return {
    capacity,
    router,
    get traffic() {
      return { ...cache.counts, ...moved };
    },
    async bring(wanted, before) {
      const { slots, evicted, installed } = cache.take(wanted, before?.slots);
      await fetch(evicted);
      for (const run of piecesOf(installed, rowsAtOnce(hidden, rows.keys))) await install(run);
      return { slots, used: before?.used ?? cache.used };
    },
    matrices: (used = cache.used) => ({ keys: matrix("keys", used), values: matrix("values", used) }),
    touch: (slots) => cache.touch(slots),
    async collect() {
      await fetch(cache.touched());
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

function rowsAtOnce(hidden: number, { BYTES_PER_ELEMENT }: RowArray): number {
  return Math.max(1, Math.floor(PIECE_BYTES / (hidden * BYTES_PER_ELEMENT)));
}

/**
 * Gives rows places among the layer's gradients, by increasing row; @returns the first new place. @mutates params.gradients
 */
function takePlaces(k: Kernels, params: SparseParams, changed: readonly SlotRun[]): number {
  const count = changed.reduce((sum, { rows }) => sum + rows.length, 0);
  params.gradients = growRowGradients(k, params.gradients, count, params.keys.cols);
  const { gradients } = params;
  const known = gradients.rowCount;
  const all = k.indices(count);
  let done = 0;
  for (const { rows } of changed) {
    all.set(rows, done);
    done += rows.length;
  }
  k.sparseTouch(gradients, all, count);
  return known;
}

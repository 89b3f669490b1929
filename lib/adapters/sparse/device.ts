// SPDX-License-Identifier: Apache-2.0
/**
 * The sparse adapter where the model is (the paper's way): the host lane routes and selects, the rows that fire travel to slots
 * of the model's memory, and the model's lane multiplies by them densely, pairs that did not fire being zeros. Exact, since
 * which pairs fire is decided before any value is used. More rows than slots are computed in chunks.
 *
 *   forward   Z (T,slots) = scores,  y = Z V
 *   backward  dZ = dy V^T at the pairs,  dV += Z^T dy,  E = c dZ,  dK += E^T h,  dh = E K + dg W_g
 */
import { andThen } from "../../core/awaitable.ts";
import type { BranchHook } from "../../models/hooks.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { rowChunks } from "../../ops/row_cache.ts";
import { type SparseResiduals, sparseSelect } from "../../ops/sparse.ts";
import type { Floats, Tensor, Weight } from "../../tensor/tensor.ts";
import { type ByLayer, isIn, layerAt } from "../frozen_layers.ts";
import type { AttachOptions } from "../adapter.ts";
import type { RowsInSlots, RowSlots } from "./row_slots.ts";
import type { SparseSettings } from "./config.ts";
import { countTokens, rowsBehind, type SparseLayer } from "./layer.ts";

/** One visit of a chunk of rows in their slots. */
interface Visit {
  readonly keys: Weight;
  readonly values: Weight;
  /** Column of each pair, or -1. */
  readonly columns: Int32Array;
  /** Whether it is the first of its sweep. */
  readonly first: boolean;
  readonly slots: Int32Array;
}

/** What fired, and where its rows lay, chunk by chunk, when y was first summed: there they are brought to sum it again. */
export interface DeviceResiduals {
  readonly fired: SparseResiduals;
  /** Written by the first `finish`. */
  lay: readonly RowsInSlots[] | null;
}

/** The hook of placement `device`. @param slotsOf Slots of each layer, shared by all parts and micro-batches of a step */
export function deviceBranch(
  k: Kernels,
  settings: SparseSettings,
  layers: ByLayer<SparseLayer>,
  slotsOf: (layer: number) => RowSlots,
  options: AttachOptions,
): BranchHook<DeviceResiduals> {
  return {
    has: (layer) => isIn(layers, layer),
    residualsOnHost: true,
    forward(layer, h, _y, first) {
      if (first !== undefined) return first; // what was chosen is not chosen again: y is made of it alone
      const one = layerAt(layers, layer);
      const arrival = k.link.down(h.data);
      const selected = sparseSelect(k, one.params, { shape: h.shape, data: arrival.data }, settings, {
        behind: rowsBehind(one, options),
        ready: () => arrival.ready(),
        turn: (job) => k.hostJobs.run(job),
      });
      return andThen(selected, (fired): DeviceResiduals => {
        arrival.release();
        return { fired, lay: null };
      });
    },
    async finish(layer, residuals, _h, y) {
      const { fired, lay } = residuals;
      residuals.lay = await sweep(k, fired, slotsOf(layer), { lay }, ({ values, columns, first }) => {
        const z = pairMatrix(k, fired, fired.pairs.scores, columns, values.rows);
        k.linearBackwardData(y.data, z, values, fired.shape.tokens, !first);
      });
      if (residuals.lay.length === 0) k.zero(y.data);
    },
    backward: (layer, { fired }) => countTokens(layerAt(layers, layer), fired),
    async finishBackward(layer, { fired: residuals }, h, dy, dh) {
      const slots = slotsOf(layer);
      const { tokens, experts, hidden, gate } = residuals.shape;
      const ddots = await valueGradients(k, residuals, slots, dy);
      const dlogits = k.floats(tokens * experts);
      k.gateGradients(residuals, ddots, dlogits);
      await keyGradients(k, residuals, slots, h, ddots, dh);
      if (gate === "none") return;
      const router = await slots.router.weight();
      k.linearBackwardData(dh.data, dlogits, router, tokens, true);
      if (router.grad) k.linearBackwardWeight(router.grad, null, dlogits, h.data, tokens, experts, hidden);
    },
  };
}

/** The values' gradients; @returns dz (P) of every pair, in host memory. */
async function valueGradients(
  k: Kernels,
  residuals: SparseResiduals,
  slots: RowSlots,
  dy: Tensor,
): Promise<Floats> {
  const { shape: { tokens, hidden }, pairs } = residuals;
  const mark = k.arena.mark();
  const dscores = k.arenaFloats(residuals.pairCount);
  await sweep(k, residuals, slots, {}, ({ values, columns, slots: taken }) => {
    slots.touch(taken);
    const dz = k.arenaFloats(tokens * values.rows);
    k.linearForward(dz, dy.data, values, null, tokens, false);
    k.pairsGather(dscores, dz, pairs.offsets, columns, values.rows);
    const z = pairMatrix(k, residuals, pairs.scores, columns, values.rows);
    k.linearBackwardWeight(values.grad as Floats, null, z, dy.data, tokens, values.rows, hidden);
  });
  const arrival = k.link.down(dscores);
  await arrival.ready();
  const dz = arrival.data.slice(); // of its own: both it and the ring's place are soon used again
  arrival.release();
  k.arena.release(mark);
  return dz;
}

/** The keys' gradients, and their share of dh. @mutates dh */
async function keyGradients(
  k: Kernels,
  residuals: SparseResiduals,
  slots: RowSlots,
  h: Tensor,
  ddots: Floats,
  dh: Tensor,
): Promise<void> {
  const { shape: { tokens, hidden } } = residuals;
  // The last chunk of the sweep before is still there.
  const backwards = { backwards: true };
  const chunks = await sweep(k, residuals, slots, backwards, ({ keys, columns, first, slots: taken }) => {
    slots.touch(taken);
    const e = pairMatrix(k, residuals, ddots, columns, keys.rows);
    k.linearBackwardData(dh.data, e, keys, tokens, !first);
    if (keys.grad) k.linearBackwardWeight(keys.grad, null, e, h.data, tokens, keys.rows, hidden);
  });
  if (chunks.length === 0) k.zero(dh.data);
}

/**
 * Visits all rows that fired, in chunks that fit the slots.
 *
 * @param how `lay` Where the rows of each chunk are to lie, as an earlier sweep in this direction returned it
 * @returns where the rows of each chunk lay
 */
async function sweep(
  k: Kernels,
  residuals: SparseResiduals,
  slots: RowSlots,
  { backwards = false, lay }: { readonly backwards?: boolean; readonly lay?: DeviceResiduals["lay"] },
  visit: (visit: Visit) => void,
): Promise<RowsInSlots[]> {
  const chunks = rowChunks(k.firedRows(residuals), slots.capacity);
  const taken: RowsInSlots[] = [];
  for (const [i, chunk] of (backwards ? chunks.reverse() : chunks).entries()) {
    k.deviceClock?.pause();
    const own = await slots.bring(chunk, lay?.[i]);
    k.deviceClock?.resume();
    taken.push(own);
    const mark = k.arena.mark();
    visit({
      ...slots.matrices(own.used),
      columns: k.pairColumns(residuals, chunk, own.slots),
      first: i === 0,
      slots: own.slots,
    });
    k.arena.release(mark);
  }
  return taken;
}

/** (T,width): a number of each pair at its token and column. In the arena. */
function pairMatrix(
  k: Kernels,
  { pairs, shape }: SparseResiduals,
  numbers: Floats,
  columns: Int32Array,
  width: number,
): Floats {
  const matrix = k.arenaFloats(shape.tokens * width);
  k.pairsScatter(matrix, numbers, pairs.offsets, columns, width);
  return matrix;
}

// SPDX-License-Identifier: Apache-2.0
/**
 * The sparse adapter where its rows live: activations travel to host memory (h down, y up; dy down, dh up), everything else
 * is done there, beside the frozen work. No byte of the adapter is where the model is.
 */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import type { BranchHook } from "../../models/hooks.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import { isTrained, type Parameter } from "../../optim/parameters.ts";
import {
  inspect,
  sparseBackward,
  sparseBackwardStep,
  sparseForward,
  type SparseResiduals,
} from "../../ops/sparse.ts";
import {
  choiceRoom,
  keepChoice,
  type SparseChoice,
  sparseForwardAmong,
  sparseValues,
} from "../../ops/sparse_again.ts";
import type { SparseTurn } from "../../ops/sparse_pairs.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { type ByLayer, isIn, layerAt } from "../frozen_layers.ts";
import type { AttachOptions, FusedRows } from "../adapter.ts";
import { countTokens, rowsBehind, type SparseLayer } from "./layer.ts";
import type { SparseSettings } from "./config.ts";

/** What is kept of a forward on the host, for backward and for a forward of the same layer that is run again. */
export interface HostResiduals {
  /** What fired, which is kept; in scope union what it was chosen among, of which it is found once more. */
  readonly fired: SparseResiduals | SparseChoice;
  /** h as it came to host memory; null where that is the model's memory, and backward is given h again. */
  readonly hostH: Tensor | null;
}

/** The hook of placement `host`. */
export function hostBranch(
  k: Kernels,
  settings: SparseSettings,
  layers: ByLayer<SparseLayer>,
  options: AttachOptions,
): BranchHook<HostResiduals> {
  return {
    has: (layer) => isIn(layers, layer),
    residualsOnHost: true,
    forward(layer, h, y, first) {
      const one = layerAt(layers, layer);
      if (first) return forwardAgain(k, one, first, h, y);
      const arrival = k.link.down(h.data, (count) => k.hostFloats(count));
      const landing = k.link.landing(y.data);
      const hostH = { shape: h.shape, data: arrival.data };
      const kept = settings.scope === "union" ? choiceRoom(k, one.params, hostH, settings) : null;
      const before = k.hostArena.mark();
      const fired = sparseForward(k, one.params, hostH, settings, {
        behind: rowsBehind(one, options),
        into: { shape: y.shape, data: landing.data },
        ready: () => andThen(arrival.ready(), () => landing.ready()),
        turn: (job) => k.hostJobs.run(job),
      });
      return andThen(fired, ({ residuals }) => {
        options.onFired?.(layer, inspect(residuals));
        const fired = kept === null ? residuals : keepChoice(k, kept, residuals);
        if (kept !== null) k.hostArena.release(before);
        return { fired, hostH: arrival.kept ? hostH : null };
      });
    },
    backward(layer, { fired, hostH }, h, dy, dh) {
      const one = layerAt(layers, layer);
      const arrival = k.link.down(dy.data);
      const landing = k.link.landing(dh.data);
      const seen = hostH ?? h;
      const backward = (residuals: SparseResiduals): Awaitable<void> => {
        countTokens(one, residuals);
        return backwardOf(k, one, residuals, seen, { shape: dy.shape, data: arrival.data }, {
          dh: { shape: dh.shape, data: landing.data },
          fusedRows: options.fusedRows,
        });
      };
      // Forward brought all rows that are read here up to date.
      const found = () => isChoice(fired) ? sparseForwardAmong(k, one.params, seen, fired, null) : fired;
      const job = () =>
        andThen(arrival.ready(), () => andThen(landing.ready(), () => andThen(found(), backward)));
      return andThen(k.hostJobs.run(job), () => arrival.release());
    },
  };
}

function isChoice(fired: HostResiduals["fired"]): fired is SparseChoice {
  return "united" in fired;
}

/** Writes y once more, of what the first forward chose. Its rows have not moved since. @mutates y */
function forwardAgain(
  k: Kernels,
  { params }: SparseLayer,
  first: HostResiduals,
  h: Tensor,
  y: Tensor,
): Awaitable<HostResiduals> {
  const landing = k.link.landing(y.data);
  const into = { shape: y.shape, data: landing.data };
  const onLane: SparseTurn = {
    ready: () => landing.ready(),
    turn: (job) => k.hostJobs.run(job),
  };
  const { fired, hostH } = first;
  const written = isChoice(fired)
    ? sparseForwardAmong(k, params, hostH ?? h, fired, into, onLane)
    : sparseValues(k, params, fired, into, onLane);
  return andThen<unknown, HostResiduals>(written, () => first);
}

/** Backward of a layer, with the step of its rows where they may take it at once. */
function backwardOf(
  k: Kernels,
  { params, router, keys, values }: SparseLayer,
  residuals: SparseResiduals,
  h: Tensor,
  dy: Tensor,
  { dh, fusedRows }: { readonly dh: Tensor; readonly fusedRows: FusedRows | undefined },
): Awaitable<void> {
  const rows = fusedRows?.step();
  if (!fusedRows || !rows) return sparseBackward(k, params, residuals, h, dy, dh);
  const { moments, ...how } = rows;
  const step = { ...how, keys: isTrained(keys) ? moments(keys) : null, values: moments(values) };
  return andThen(
    sparseBackwardStep(k, params, residuals, h, dy, { dh, step }),
    ([ofRouter, ofKeys, ofValues]) => {
      const squares = new Map<Parameter, number>([[router, ofRouter], [values, ofValues]]);
      if (isTrained(keys)) squares.set(keys, ofKeys);
      fusedRows.stepped(squares);
    },
  );
}

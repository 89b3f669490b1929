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
  sparseSelect,
} from "../../ops/sparse.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import type { AttachOptions, FusedRows } from "../adapter.ts";
import { countTokens, layerAt, rowsBehind, type SparseLayer } from "./layer.ts";
import type { SparseSettings } from "./config.ts";

/** What backward needs of a forward on the host. */
export interface HostResiduals {
  /** What fired; null where backward selects again. */
  readonly selected: SparseResiduals | null;
  /** Pairs that fired. */
  readonly pairCount: number;
  /** h as it came to host memory; null where that is the model's memory, and backward is given h again. */
  readonly hostH: Tensor | null;
}

/**
 * Whether backward selects again, in place of keeping what forward found. In scope union a token fires half of what any token
 * chose: hundreds of MB a layer at thousands of tokens, all layers together, against one more of four passes over the keys.
 */
function selectsAgain({ scope }: SparseSettings): boolean {
  return scope === "union";
}

/** The hook of placement `host`. */
export function hostBranch(
  k: Kernels,
  settings: SparseSettings,
  layers: readonly SparseLayer[],
  options: AttachOptions,
): BranchHook<HostResiduals> {
  return {
    residualsOnHost: true,
    forward(layer, h, y) {
      const one = layerAt(layers, layer);
      const arrival = k.link.down(h.data, (count) => k.hostFloats(count));
      const landing = k.link.landing(y.data);
      const hostH = { shape: h.shape, data: arrival.data };
      const before = k.hostArena.mark();
      const fired = sparseForward(k, one.params, hostH, settings, {
        behind: rowsBehind(one, options),
        into: { shape: y.shape, data: landing.data },
        ready: () => andThen(arrival.ready(), () => landing.ready()),
        turn: (job) => k.hostJobs.run(job),
      });
      return andThen(fired, ({ residuals }) => {
        options.onFired?.(layer, inspect(residuals));
        const again = selectsAgain(settings);
        if (again) k.hostArena.release(before);
        return {
          selected: again ? null : residuals,
          pairCount: residuals.pairCount,
          hostH: arrival.kept ? hostH : null,
        };
      });
    },
    backward(layer, { selected, pairCount, hostH }, h, dy, dh) {
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
      const select = () => selected ?? sparseSelect(k, one.params, seen, settings, { room: pairCount });
      const job = () =>
        andThen(arrival.ready(), () => andThen(landing.ready(), () => andThen(select(), backward)));
      return andThen(k.hostJobs.run(job), () => arrival.release());
    },
  };
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

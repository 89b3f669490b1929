// SPDX-License-Identifier: Apache-2.0
/** Numbers of (token, neuron) pairs as a dense matrix and back, over libmeft. */
import * as calls from "../../native/calls.ts";
import type { ModelKernels } from "../kernels/model.ts";
import { f32, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";

/** Members of {@linkcode ModelKernels} that this file gives. */
type PairKernels = Pick<ModelKernels, "pairsScatter" | "pairsGather">;

/** See `meft_pairs_*`. */
export function pairKernels({ model }: Lanes): PairKernels {
  return {
    pairsScatter(out, values, offsets, columns, width): void {
      const tokens = offsets.length - 1, count = offsets[tokens] ?? 0;
      const to = f32("out", out, tokens * width);
      calls.pairsScatter(
        model,
        to,
        f32("values", values, count),
        offsets,
        room("columns", columns, count),
        tokens,
        width,
      );
    },
    pairsGather(out, dense, offsets, columns, width): void {
      const tokens = offsets.length - 1, count = offsets[tokens] ?? 0;
      const from = f32("dense", dense, tokens * width);
      calls.pairsGather(
        model,
        f32("out", out, count),
        from,
        offsets,
        room("columns", columns, count),
        tokens,
        width,
      );
    },
  };
}

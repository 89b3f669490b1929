// SPDX-License-Identifier: Apache-2.0
/** Couplings of streams in fixed point, over libmeft. */
import * as calls from "../../native/calls.ts";
import { type CouplingKernels, droppedWords } from "../kernels/coupling.ts";
import { f32, f32OrNull, room } from "./arguments.ts";
import type { Lanes } from "./lanes.ts";

/** See `meft_coupling_*`. */
export function couplingKernels({ model }: Lanes): CouplingKernels {
  const wordsOf = (dropped: Int32Array | null, count: number, shift: number): Int32Array | null =>
    dropped === null ? null : room("dropped", dropped, droppedWords(count, shift));
  return {
    fixedFromFloats(s, x, fraction, account): void {
      const count = s.length;
      calls.couplingToFixed(model, s, f32("account", account, 2), f32("x", x, count), count, fraction);
    },

    floatsFromFixed(x, s, fraction): void {
      calls.couplingFromFixed(model, f32("x", x, s.length), s, s.length, fraction);
    },

    couple(y, dropped, view, x, f, { fraction, shift }, account): void {
      const count = y.length;
      calls.couplingForward(
        model,
        y,
        wordsOf(dropped, count, shift),
        f32OrNull("view", view, count),
        f32("account", account, 2),
        room("x", x, count),
        f32("f", f, count),
        count,
        fraction,
        shift,
      );
    },

    uncouple(x, y, dropped, f, { fraction, shift }): void {
      const count = x.length;
      calls.couplingInverse(
        model,
        x,
        room("y", y, count),
        wordsOf(dropped, count, shift),
        f32("f", f, count),
        count,
        fraction,
        shift,
      );
    },
  };
}

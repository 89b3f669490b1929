// SPDX-License-Identifier: Apache-2.0
/** What did not fit the streams of a pass: counted by layer, and told before anything comes of it. */
import { andThen, type Awaitable } from "../../core/awaitable.ts";
import { NotFiniteError, UserError } from "../../core/errors.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Floats } from "../../tensor/tensor.ts";
import type { StreamForm } from "./coupling.ts";

/** A value that int32 streams have no room for: other streams do. Nothing was changed by the pass. */
export class StreamOverflowError extends UserError {
  override readonly name = "StreamOverflowError";
}

/** The accounts of a pass. */
export interface StreamAccounts {
  /** (2) of a coupled layer, counted from the lowest, or of what enters that. */
  of(layer: number | "entry"): Floats;
  /**
   * @param seen Told the largest magnitude of all
   * @throws {StreamOverflowError} When something did not fit: where first, how large it is, and the way out
   * @throws {NotFiniteError} When it is no number that did not fit
   */
  check(seen?: (largest: number) => void): Awaitable<void>;
}

/** Accounts in the arena. @param lowest Number of the lowest coupled layer, as it is told */
export function streamAccounts(
  k: Kernels,
  form: StreamForm,
  lowest: number,
  layers: number,
): StreamAccounts {
  const all = k.arenaFloats(2 * (layers + 1));
  k.zero(all);
  return {
    of(layer) {
      const place = layer === "entry" ? 0 : layer + 1;
      return all.subarray(2 * place, 2 * place + 2);
    },
    check: (seen) =>
      form.kind !== "exact" ? undefined : andThen(k.read(all), (read) => {
        const accounts = Array.from({ length: layers + 1 }, (_, i) => ({
          count: read[2 * i] as number,
          largest: read[2 * i + 1] as number,
        }));
        const place = accounts.findIndex(({ count }) => count > 0);
        if (place >= 0) {
          const { largest } = accounts[place] as typeof accounts[number];
          throw overflow(form.fraction, place === 0 ? "entry" : lowest + place - 1, largest);
        }
        seen?.(Math.max(...accounts.map(({ largest }) => largest)));
      }),
  };
}

function overflow(fraction: number, layer: number | "entry", value: number): Error {
  const where = layer === "entry" ? "What enters the streams" : `Layer ${layer}`;
  const limit = `int32 with ${fraction} fractional bits holds less than ${2 ** (31 - fraction)}`;
  if (!Number.isFinite(value)) {
    return new NotFiniteError(`${where} reaches ${value}, and ${limit}; nothing was changed`);
  }
  const bits = 30 - Math.ceil(Math.log2(value));
  const fewer = `go on with --resume --fraction-bits ${bits} or fewer, begin again with that`;
  return new StreamOverflowError(
    `${where} reaches ${Number(value.toPrecision(6))}, and ${limit}; nothing was changed: ` +
      `${bits < 0 ? "begin again" : `${fewer}, or`} with --streams f32`,
  );
}

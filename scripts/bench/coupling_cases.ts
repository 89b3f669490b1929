// SPDX-License-Identifier: Apache-2.0
/** Kernels of couplings in fixed point that are measured, beyond the caches; 7 bits dropped of an element, as of decoders. */
import { droppedWords } from "../../lib/ops/kernels/coupling.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { type KernelCase, type MakeCase, random } from "./operands.ts";

const COUNT = 1 << 24;
const CALL = { fraction: 12, shift: 7 };

/** Streams, what is added, and room. */
function operands(k: Kernels) {
  const [x, f, view] = [new Int32Array(COUNT), random(k, COUNT), new Float32Array(COUNT)];
  const account = new Float32Array(2);
  k.fixedFromFloats(x, f, CALL.fraction, account);
  const dropped = new Int32Array(droppedWords(COUNT, CALL.shift));
  return { x, f, view, account, dropped };
}

function streaming(name: string, bytes: number, run: () => void): KernelCase {
  return { name, shape: "16 M", bound: "updateGigabytes", work: 1e-9 * bytes, run };
}

/** Forward, in place, with floats of the result and without; its inverse; and floats alone. */
export const COUPLING_CASES: readonly MakeCase[] = [
  ...[false, true].flatMap((viewed): MakeCase[] => {
    const label = viewed ? " with floats" : "";
    const bytes = (viewed ? 16 : 12) * COUNT + 4 * droppedWords(COUNT, CALL.shift);
    return [(k) => {
      const { x, f, view, account, dropped } = operands(k);
      const run = () => k.couple(x, dropped, viewed ? view : null, x, f, CALL, account);
      return streaming(`coupling${label}`, bytes, run);
    }];
  }),
  (k) => {
    const { x, f, dropped } = operands(k);
    const bytes = 12 * COUNT + 4 * droppedWords(COUNT, CALL.shift);
    return streaming("coupling undone", bytes, () => k.uncouple(x, x, dropped, f, CALL));
  },
  (k) => {
    const { x, view } = operands(k);
    return streaming("floats of a stream", 8 * COUNT, () => k.floatsFromFixed(view, x, CALL.fraction));
  },
  (k) => {
    const [y, x] = [random(k, COUNT), random(k, COUNT)];
    return streaming("scaled add", 12 * COUNT, () => k.scaledAdd(y, 2 ** -7, x));
  },
];

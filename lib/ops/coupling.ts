// SPDX-License-Identifier: Apache-2.0
/**
 * Couplings of two residual streams in int32 fixed point, and their exact inverse: what reversible fine-tuning rebuilds a
 * layer's inputs by. The measured reason for integers: f32 loses ten times more of the inputs at every layer down.
 */
import { assertInteger, assertShape } from "../core/shape.ts";
import { type FixedTensor, type Floats, numel, type Tensor } from "../tensor/tensor.ts";
import { arenaTensor } from "./arena_tensor.ts";
import { droppedWords, MOST_FRACTION, MOST_SHIFT } from "./kernels/coupling.ts";
import type { ModelKernels } from "./kernels/model.ts";
import type { Place } from "./kernels/place.ts";

/** An uninitialised stream from the arena. @throws {RangeError} When `fraction` is not 0 to 30 */
export function arenaFixed(k: Place, shape: readonly number[], fraction: number): FixedTensor {
  assertInteger("fraction of a stream", fraction, 0, MOST_FRACTION);
  return { shape, data: k.arenaIntegers(numel(shape)), fraction };
}

/** Room in the arena for the bits that a coupling with this shift drops of a stream; null when it drops none. */
export function arenaDropped(k: Place, { shape }: FixedTensor, shift: number): Int32Array | null {
  return shift === 0 ? null : k.arenaIntegers(droppedWords(numel(shape), shift));
}

/**
 * s = round(x * 2^fraction), to nearest even.
 *
 * @param x (...) float, read     @param s (...) int32, written     @param account See {@linkcode CouplingKernels}
 * @mutates s, account
 * @throws {RangeError} When shapes disagree, naming both
 */
export function toFixedInto(
  k: ModelKernels & Place,
  s: FixedTensor,
  x: Tensor,
  account: Floats,
): FixedTensor {
  assertShape("x of a stream", x.shape, s.shape);
  k.fixedFromFloats(s.data, x.data, s.fraction, account);
  return s;
}

/**
 * s * 2^-fraction, rounded once.
 *
 * @param s (...) int32, read     @returns (...) float, in the arena
 */
export function toFloats(k: ModelKernels & Place, s: FixedTensor): Tensor {
  const x = arenaTensor(k, s.shape);
  k.floatsFromFixed(x.data, s.data, s.fraction);
  return x;
}

/** What one coupling reads and keeps. */
export interface Coupling {
  /** (...) float, read: what is added. */
  readonly f: Tensor;
  /** The coefficient of the stream is 2^-shift, 0 to 15. */
  readonly shift: number;
  /** Of {@linkcode arenaDropped}: backward keeps it. */
  readonly dropped: Int32Array | null;
}

/** What {@linkcode coupleInto} is given besides. */
export interface ViewedCoupling extends Coupling {
  /** (...) float, or absent: the result as floats, written in the same pass. May be f. */
  readonly view?: Tensor;
}

/**
 * y = x * 2^-shift + f, in fixed point: (x >> shift) + round(f * 2^fraction). Gradients: dx = 2^-shift * dy, df = dy, by
 * {@linkcode ModelKernels.scaledAdd}.
 *
 * @param y (...) int32, written; may be x     @param x (...) int32, read     @param account See {@linkcode CouplingKernels}
 * @mutates y, coupling.dropped, coupling.view, account
 * @throws {RangeError} When shapes or sizes disagree, or shift is not 0 to 15
 */
export function coupleInto(
  k: ModelKernels & Place,
  y: FixedTensor,
  x: FixedTensor,
  coupling: ViewedCoupling,
  account: Floats,
): FixedTensor {
  const { f, shift, dropped, view } = coupling;
  checkCoupling(y, x, coupling);
  if (view) assertShape("view of a coupling", view.shape, x.shape);
  const call = { fraction: x.fraction, shift };
  k.couple(y.data, dropped, view?.data ?? null, x.data, f.data, call, account);
  return y;
}

/**
 * The x of {@linkcode coupleInto}, bit for bit, given the same f.
 *
 * @param x (...) int32, written; may be y     @param y (...) int32, read
 * @mutates x
 * @throws {RangeError} When shapes or sizes disagree, or shift is not 0 to 15
 */
export function uncoupleInto(
  k: ModelKernels & Place,
  x: FixedTensor,
  y: FixedTensor,
  coupling: Coupling,
): FixedTensor {
  const { f, shift, dropped } = coupling;
  checkCoupling(x, y, coupling);
  k.uncouple(x.data, y.data, dropped, f.data, { fraction: y.fraction, shift });
  return x;
}

function checkCoupling(to: FixedTensor, from: FixedTensor, { f, shift, dropped }: Coupling): void {
  assertInteger("shift of a coupling", shift, 0, MOST_SHIFT);
  assertShape("result of a coupling", to.shape, from.shape);
  assertShape("f of a coupling", f.shape, from.shape);
  if (to.fraction !== from.fraction) {
    throw new RangeError(`Streams of ${from.fraction} and ${to.fraction} fractional bits cannot be coupled`);
  }
  const [words, wanted] = [dropped?.length ?? 0, droppedWords(numel(from.shape), shift)];
  if (words !== wanted) {
    throw new RangeError(`dropped bits of a coupling have ${words} words, expected ${wanted}`);
  }
}

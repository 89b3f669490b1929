// SPDX-License-Identifier: Apache-2.0
/** Arithmetic of coupled streams, by what they are kept as. */
import type { Stream } from "../../activations/policy.ts";
import { arenaCopy, arenaTensor } from "../../ops/arena_tensor.ts";
import {
  arenaDropped,
  arenaFixed,
  coupleInto,
  toFixedInto,
  toFloats,
  uncoupleInto,
} from "../../ops/coupling.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { FixedTensor, Floats, Tensor } from "../../tensor/tensor.ts";
import type { StreamForm } from "./coupling.ts";

/** One addition to a stream: coefficient * x + f. */
export interface Addition {
  readonly coefficient: number;
  /** (T,D) read, and spent where it is undone. */
  readonly f: Tensor;
  /** Of `room`, where the addition is to be undone without its x. */
  readonly dropped: Int32Array | null;
}

/** What couplings do with streams of one form. */
export interface StreamArithmetic {
  /** A stream of its own with the values of x (T,D). @param account As `add` */
  enter(x: Tensor, account: Floats): Stream;
  /** The values as functions read them: the stream itself, or in the arena. */
  floats(stream: Stream): Tensor;
  /** Room for what an addition drops of x. */
  room(x: Stream, coefficient: number): Int32Array | null;
  /** y = coefficient x + f; y may be x. @param account (2): what did not fit is counted there @mutates y, dropped, account */
  add(y: Stream, x: Stream, addition: Addition, account: Floats): void;
  /** Like `add`. @returns the values of y as `floats` gives them, made in the same pass over memory */
  addAndRead(y: Stream, x: Stream, addition: Addition, account: Floats): Tensor;
  /** y, which holds coefficient x + f, becomes x. @mutates y, f */
  undo(y: Stream, addition: Addition): void;
}

/** The arithmetic of a form, on kernels. */
export function streamArithmetic(k: Kernels, form: StreamForm): StreamArithmetic {
  return form.kind === "exact" ? exactStreams(k, form.fraction) : floatStreams(k);
}

/** The shift that multiplies by a power of two up to 1. */
function shiftOf(coefficient: number): number {
  return Math.log2(1 / coefficient); // -log2(1) is -0, which is no int32
}

function exactStreams(k: Kernels, fraction: number): StreamArithmetic {
  const room = (x: Stream, coefficient: number): Int32Array | null =>
    arenaDropped(k, x as FixedTensor, shiftOf(coefficient));
  const couple = (
    [y, x, { coefficient, f, dropped }, account]: Parameters<StreamArithmetic["add"]>,
    view?: Tensor,
  ): void => {
    const mark = k.arena.mark();
    // Where x itself is kept, nothing is: but the kernel writes what it drops.
    const bits = dropped ?? room(x, coefficient);
    const call = { f, shift: shiftOf(coefficient), dropped: bits, ...(view && { view }) };
    coupleInto(k, y as FixedTensor, x as FixedTensor, call, account);
    k.arena.release(mark);
  };
  return {
    enter: (x, account) => toFixedInto(k, arenaFixed(k, x.shape, fraction), x, account),
    floats: (stream) => toFloats(k, stream as FixedTensor),
    room,
    add: (...addition) => couple(addition),
    addAndRead(...addition) {
      const view = arenaTensor(k, addition[0].shape);
      couple(addition, view);
      return view;
    },
    undo: (y, { coefficient, f, dropped }) =>
      void uncoupleInto(k, y as FixedTensor, y as FixedTensor, { f, shift: shiftOf(coefficient), dropped }),
  };
}

function floatStreams(k: Kernels): StreamArithmetic {
  const floats = (stream: Stream): Floats => stream.data as Floats;
  const add: StreamArithmetic["add"] = (y, x, { coefficient, f }) => {
    if (y !== x) k.copy(floats(y), floats(x));
    k.scaledAdd(floats(y), coefficient, f.data);
  };
  return {
    enter: (x) => arenaCopy(k, x),
    floats: (stream) => stream as Tensor,
    room: () => null,
    add,
    addAndRead(y, ...addition) {
      add(y, ...addition);
      return y as Tensor;
    },
    undo(y, { coefficient, f }) {
      k.scale(f.data, -1);
      k.add(floats(y), f.data);
      k.scale(floats(y), 1 / coefficient);
    },
  };
}

// SPDX-License-Identifier: Apache-2.0
/** Arithmetic of coupled streams, by what they are kept as. */
import type { KeptOfStream, Stream } from "../../activations/policy.ts";
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
  /** Of `keep`, where the addition is to be undone without its x. */
  readonly kept: KeptOfStream;
}

/** What couplings do with streams of one form. */
export interface StreamArithmetic {
  /** An uninitialised stream in the arena. */
  room(shape: readonly number[]): Stream;
  /** The stream becomes x (T,D). @param account As `add` @mutates stream, account */
  enter(stream: Stream, x: Tensor, account: Floats): void;
  /** The values as functions read them: the stream itself, or in the arena. */
  floats(stream: Stream): Tensor;
  /** The values in a tensor of their own, in the arena. */
  copy(stream: Stream): Tensor;
  /** Room for what an addition drops of x; or x whole, from which undoing goes on where it drifts. */
  keep(x: Stream, coefficient: number, isAnchor: boolean): KeptOfStream;
  /** y = coefficient x + f; y may be x. @param account (2): what did not fit is counted there @mutates y, kept bits, account */
  add(y: Stream, x: Stream, addition: Addition, account: Floats): void;
  /** Like `add`. @returns the values of y as `floats` gives them, made in the same pass over memory */
  addAndRead(y: Stream, x: Stream, addition: Addition, account: Floats): Tensor;
  /** y, which holds coefficient x + f, becomes x; f is read where x was not kept whole. @mutates y, f */
  undo(y: Stream, addition: Addition): void;
}

/** The arithmetic of a form, on kernels. */
export function streamArithmetic(k: Kernels, form: StreamForm): StreamArithmetic {
  return form.kind === "exact" ? exactStreams(k, form.fraction) : floatStreams(k);
}

/** Whether all of a stream was kept. */
export function isWhole(kept: KeptOfStream): kept is Stream {
  return kept !== null && !(kept instanceof Int32Array);
}

/** The shift that multiplies by a power of two up to 1. */
function shiftOf(coefficient: number): number {
  return Math.log2(1 / coefficient); // -log2(1) is -0, which is no int32
}

function exactStreams(k: Kernels, fraction: number): StreamArithmetic {
  const keep = (x: Stream, coefficient: number): Int32Array | null =>
    arenaDropped(k, x as FixedTensor, shiftOf(coefficient));
  const couple = (
    [y, x, { coefficient, f, kept }, account]: Parameters<StreamArithmetic["add"]>,
    view?: Tensor,
  ): void => {
    const mark = k.arena.mark();
    // Where x itself is kept, nothing is: but the kernel writes what it drops.
    const dropped = kept as Int32Array | null ?? keep(x, coefficient);
    const call = { f, shift: shiftOf(coefficient), dropped, ...(view && { view }) };
    coupleInto(k, y as FixedTensor, x as FixedTensor, call, account);
    k.arena.release(mark);
  };
  const floats = (stream: Stream): Tensor => toFloats(k, stream as FixedTensor);
  return {
    room: (shape) => arenaFixed(k, shape, fraction),
    enter: (stream, x, account) => void toFixedInto(k, stream as FixedTensor, x, account),
    floats,
    copy: floats,
    keep,
    add: (...addition) => couple(addition),
    addAndRead(...addition) {
      const view = arenaTensor(k, addition[0].shape);
      couple(addition, view);
      return view;
    },
    undo(y, { coefficient, f, kept }) {
      const call = { f, shift: shiftOf(coefficient), dropped: kept as Int32Array | null };
      uncoupleInto(k, y as FixedTensor, y as FixedTensor, call);
    },
  };
}

function floatStreams(k: Kernels): StreamArithmetic {
  const floats = (stream: Stream): Floats => stream.data as Floats;
  const add: StreamArithmetic["add"] = (y, x, { coefficient, f }) => {
    if (y !== x) k.copy(floats(y), floats(x));
    k.scaledAdd(floats(y), coefficient, f.data);
  };
  return {
    room: (shape) => arenaTensor(k, shape),
    enter: (stream, x) => k.copy(floats(stream), x.data),
    floats: (stream) => stream as Tensor,
    copy: (stream) => arenaCopy(k, stream as Tensor),
    keep: (x, _coefficient, isAnchor) => isAnchor ? arenaCopy(k, x as Tensor) : null,
    add,
    addAndRead(y, ...addition) {
      add(y, ...addition);
      return y as Tensor;
    },
    undo(y, { coefficient, f, kept }) {
      if (isWhole(kept)) return k.copy(floats(y), floats(kept));
      k.scale(f.data, -1);
      k.add(floats(y), f.data);
      k.scale(floats(y), 1 / coefficient);
    },
  };
}

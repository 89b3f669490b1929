// SPDX-License-Identifier: Apache-2.0
/**
 * However many elements, rows or tokens a processor is given, each gets the bits that it gets in a call of few: work beyond
 * one task's share is cut, and every cut must begin where the one before ended.
 */
import assert from "node:assert/strict";
import type { AdamwStep } from "../../lib/ops/kernels/model.ts";
import type { ActivationArray, Floats } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../compare.ts";
import { onEveryBackend, type Written } from "./agreement.ts";
import { backends } from "./backends.ts";
import type { Outputs } from "./kernel_case.ts";
import type { Stage } from "./stage.ts";

/** Arrays of a call by name. */
export type Arrays = Readonly<Record<string, ActivationArray | Int32Array>>;

/** A call that can be made in pieces. */
export interface Cuttable<State> {
  readonly name: string;
  /** Elements, rows or tokens: more than a task's share. */
  readonly count: number;
  /** So many at a time for the call in pieces: less than a task's share. */
  readonly few: number;
  /** What it works on. */
  make(stage: Stage): State;
  /** The call for [begin, end). */
  run(stage: Stage, state: State, begin: number, end: number): void | Promise<void>;
  /** All that was written; the state itself where there is no other. */
  written?(stage: Stage, state: State): Outputs;
}

/** Rows [begin, end) of `width` columns. */
export function part<A extends ActivationArray | Int32Array>(x: A, begin: number, end: number, width = 1): A {
  return x.subarray(begin * width, end * width) as A;
}

/** A test of a call. */
export function givesManyWhatItGivesFew<State>(
  { name, count, few, make, run, written }: Cuttable<State>,
): void {
  Deno.test(`${name} gives many the bits that it gives a few`, () =>
    onEveryBackend(
      async (stage) => {
        const [whole, pieces] = [make(stage), make(stage)];
        await run(stage, whole, 0, count);
        for (let begin = 0; begin < count; begin += few) {
          await run(stage, pieces, begin, Math.min(begin + few, count));
        }
        const [ofWhole, ofPieces] = [whole, pieces].map((state) =>
          written?.(stage, state) ?? state as unknown as Outputs
        ) as [Outputs, Outputs];
        const inPieces = Object.entries(ofPieces).map(([key, x]) => [`${key} in pieces`, x] as const);
        return { ...ofWhole, ...Object.fromEntries(inPieces) };
      },
      assertPiecesAreTheWhole,
      backends(),
    ));
}

function assertPiecesAreTheWhole(written: Written): void {
  const names = Object.keys(written).filter((name) => !name.endsWith(" in pieces"));
  assert.ok(names.length > 0);
  for (const name of names) assertSameBits(name, written[name]!, written[`${name} in pieces`]!);
}

/** How arrays of a call are stored: as floats, or as the backend stores activations. */
export type Draw = (stage: Stage, name: string, count: number) => ActivationArray;
export const STORAGES: readonly (readonly [string, Draw])[] = [
  ["floats", (stage, name, count) => stage.normal(name, count)],
  ["activations", (stage, name, count) => stage.activation(name, count)],
];

/** A call on arrays, element by element, of which each piece takes its part. */
export function elementwise(
  name: string,
  make: (stage: Stage, count: number) => Arrays,
  run: (stage: Stage, arrays: Readonly<Record<string, ActivationArray>>, begin: number) => void,
): void {
  const count = 20_003; // no multiple of a vector, more than a task takes
  givesManyWhatItGivesFew<Arrays>({
    name,
    count,
    few: 4_096,
    make: (stage) => make(stage, count),
    run(stage, state, begin, end) {
      const parts = Object.entries(state).map(([key, x]) => [key, part(x, begin, end)]);
      run(stage, Object.fromEntries(parts), begin);
    },
  });
}

const HYPER = { step: 5, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1, gradScale: 0.5 };
/** The fifth step, with rates that change. */
export const stepOf = (stage: Stage): AdamwStep => ({
  ...HYPER,
  lrHistory: stage.hostValues([0.1, 0.2, 0.3, 0.2, 0.1]),
});

/** |normal values|: second moments. */
export const positive = (stage: Stage, name: string, count: number): Floats =>
  stage.hostValues(stage.hostNormal(name, count).map(Math.abs));

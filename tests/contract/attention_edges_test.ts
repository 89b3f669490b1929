// SPDX-License-Identifier: Apache-2.0
/** What attention of every backend gives where an oracle in f64 says nothing: what reaches what, ties, masks and NaN. */
import assert from "node:assert/strict";
import { bf16ToFloat, floatToBf16 } from "../../lib/core/half.ts";
import type { AttentionShape } from "../../lib/ops/kernels/model.ts";
import type { ActivationArray } from "../../lib/tensor/tensor.ts";
import { assertSameBits, assertWithin } from "../compare.ts";
import { now } from "../now.ts";
import { onEveryBackend } from "./agreement.ts";
import type { Stage } from "./stage.ts";

/** These numbers as the backend stores activations. */
function activations(stage: Stage, values: readonly number[]): ActivationArray {
  if (stage.k.activationDType !== "bf16") return stage.values(values);
  const array = stage.activationOutput(values.length);
  stage.k.copy(array, Uint16Array.from(values, floatToBf16));
  return array;
}

function numbersOf(stage: Stage, array: ActivationArray): number[] {
  const values = now(stage.k.read(array));
  return Array.from(values, values instanceof Uint16Array ? bf16ToFloat : Number);
}

const LONG = { queryRows: 50, keyRows: 50, heads: 2, kvHeads: 1, headDim: 8, scale: 8 ** -0.5, softcap: 0 };
/** The key that changes, the sixth of the second span. */
const CHANGED = 25;

/** o before and after that key and its value are others. */
function changed(stage: Stage, shape: AttentionShape) {
  const spans = Int32Array.of(0, 20, 0, 20, 20, 50, 20, 50);
  const [q, k, v] = [stage.activation("q", 800), stage.activation("k", 400), stage.activation("v", 400)];
  const run = (keys: ActivationArray, values: ActivationArray) => {
    const o = stage.activationOutput(800);
    stage.k.attentionForward(o, stage.output(100), q, keys, values, spans, shape);
    return o;
  };
  const other = (x: ActivationArray) => activations(stage, numbersOf(stage, x).with(CHANGED * 8, 3));
  return { before: run(k, v), after: run(other(k), other(v)) };
}

for (
  const [what, sees, window, first, end] of [
    ["the past", "past", 0, CHANGED, 50],
    ["the past in a window", "past", 7, CHANGED, CHANGED + 7],
    ["all", "all", 0, 20, 50],
    ["all in a window", "all", 7, CHANGED - 3, CHANGED + 4],
    ["all in a window that ends with the span", "all", 14, 20, CHANGED + 8],
  ] as const
) {
  Deno.test(`attentionForward() lets a key reach the queries that see it, and no other: ${what}`, () =>
    onEveryBackend((stage) => changed(stage, { ...LONG, sees, window }), ({ before, after }) => {
      for (let row = 0; row < 50; row++) {
        const [was, is] = [before!, after!].map((x) => Float64Array.from(x.slice(16 * row, 16 * row + 16)));
        if (row < first || row >= end) assertSameBits(`row ${row}`, is!, was!);
        else assert.ok(is!.some((value, i) => value !== was![i]), `row ${row} sees the key`);
      }
    }));
}

/** o of queries of 1 in two spans, of four keys and of three. */
function ofKeys(stage: Stage, keys: readonly number[], own: Pick<AttentionShape, "sees" | "softcap">) {
  const [q, k, v] = [Array(7).fill(1), keys, [1, 2, 3, 5, 1, 1, 1]].map((x) => activations(stage, x)) as [
    ActivationArray,
    ActivationArray,
    ActivationArray,
  ];
  const o = stage.activationOutput(7);
  const shape = { queryRows: 7, keyRows: 7, heads: 1, kvHeads: 1, headDim: 1, window: 0, scale: 1, ...own };
  stage.k.attentionForward(o, stage.output(7), q, k, v, Int32Array.of(0, 4, 0, 4, 4, 7, 4, 7), shape);
  return { o };
}

/** e^-1: how a capped score of -Infinity weighs where the others are 0 and the cap is 1. */
const LEAST = Math.exp(-1);

for (
  const [what, own, expected] of [
    ["passes -Infinity over", { sees: "past", softcap: 0 }, [1, 1.5, 1.5, 8 / 3]],
    ["passes -Infinity over", { sees: "all", softcap: 0 }, Array(4).fill(8 / 3)],
    ["caps -Infinity", { sees: "all", softcap: 1 }, Array(4).fill((8 + 3 * LEAST) / (3 + LEAST))],
  ] as const
) {
  const name = `attentionForward() weighs ties alike, ${what} and keeps NaN in its span: sees ${own.sees}`;
  Deno.test(
    name,
    () =>
      onEveryBackend((stage) => ofKeys(stage, [0, 0, -Infinity, 0, NaN, 1, 1], own), ({ o }) => {
        // As far as bf16 tells; what f32 tells more the contract's cases ask.
        assertWithin("o", o!.slice(0, 4), expected, 3 * 2 ** -8);
        assert.ok(o!.slice(4).every((x) => Number.isNaN(x)));
      }),
  );
}

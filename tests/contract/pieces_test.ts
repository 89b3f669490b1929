// SPDX-License-Identifier: Apache-2.0
/** What the model computes, in calls of many and of a few: see {@linkcode givesManyWhatItGivesFew}. */
import assert from "node:assert/strict";
import type { ActivationKind } from "../../lib/ops/kernels/model.ts";
import type { ActivationArray, Floats } from "../../lib/tensor/tensor.ts";
import { assertSameBits } from "../compare.ts";
import { onEveryBackend } from "./agreement.ts";
import { backends } from "./backends.ts";
import {
  type Arrays,
  elementwise,
  givesManyWhatItGivesFew,
  part,
  positive,
  stepOf,
  STORAGES,
} from "./pieces.ts";
import type { Stage } from "./stage.ts";

const KINDS: readonly ActivationKind[] = [
  ...["identity", "relu", "silu", "gelu", "gelu_tanh", "quick_gelu", "tanh", "sigmoid"] as const,
];
const DROPOUT = { seed: 7, stream: 5, part: 3, probability: 0.4 };
for (const [storage, draw] of STORAGES) {
  const drawn = (...names: string[]) => (stage: Stage, count: number): Arrays =>
    Object.fromEntries(names.map((name) => [name, draw(stage, name, count)]));
  elementwise(`add() of ${storage}`, drawn("y", "x"), ({ k }, { y, x }) => k.add(y!, x!));
  for (const kind of KINDS) {
    elementwise(
      `activationForward() of ${kind}, ${storage}`,
      drawn("y", "alone", "x", "up"),
      ({ k }, { y, alone, x, up }) => {
        k.activationForward(y!, x!, up!, kind);
        k.activationForward(alone!, x!, null, kind);
      },
    );
    elementwise(
      `activationBackward() of ${kind}, ${storage}`,
      drawn("dx", "dup", "alone", "dy", "x", "up"),
      ({ k }, { dx, dup, alone, dy, x, up }) => {
        k.activationBackward(dx!, dup!, dy!, x!, up!, kind);
        k.activationBackward(alone!, null, dy!, x!, null, kind);
      },
    );
  }
  for (const [from, drawInput] of STORAGES) {
    elementwise(
      `dropout() of ${from} to ${storage}`,
      (stage, count) => ({ y: draw(stage, "y", count), x: drawInput(stage, "x", count) }),
      ({ k }, { y, x }, first) => k.dropout(y!, x!, { ...DROPOUT, first }, true),
    );
  }
}

elementwise("scale()", (stage, count) => ({ x: stage.normal("x", count) }), ({ k }, { x }) => {
  k.scale(x as Floats, -0.3);
});
elementwise(
  "adamwDense()",
  (stage, count) => ({
    ...{ w: stage.normal("w", count), m: stage.normal("m", count) },
    ...{ v: positive(stage, "v", count), grad: stage.normal("grad", count) },
  }),
  (stage, { w, m, v, grad }) =>
    stage.k.adamwDense(w as Floats, m as Floats, v as Floats, grad as Floats, stepOf(stage)),
);

// Rows of a norm, tokens of a rotation, and of a loss.
const [NORM_ROWS, NORM_COLS] = [211, 65];
/** Of rows [begin, end), each of the `width` statistics: those of all rows lie together. */
function statsOf(stats: Floats, width: number, begin: number, end: number): Floats[] {
  return Array.from({ length: width }, (_, i) => part(stats, i * NORM_ROWS + begin, i * NORM_ROWS + end));
}

for (const kind of ["rms", "layer"] as const) {
  const width = kind === "rms" ? 1 : 2;
  for (const [from, drawInput] of STORAGES) {
    const norm = (stage: Stage) => ({
      ...{ kind, weight: stage.weight("w", 1, NORM_COLS, "f32"), eps: 1e-5, unitOffset: false },
      bias: kind === "layer" ? stage.weight("b", 1, NORM_COLS, "f32") : null,
    });
    for (const [to, drawResult] of STORAGES) {
      givesManyWhatItGivesFew<Readonly<Record<"y" | "x", ActivationArray> & { stats: Floats }>>({
        name: `normForward() of ${kind}, ${from} to ${to}`,
        ...{ count: NORM_ROWS, few: 40 },
        make: (stage) => ({
          y: drawResult(stage, "y", NORM_ROWS * NORM_COLS),
          stats: stage.output(NORM_ROWS * width),
          x: drawInput(stage, "x", NORM_ROWS * NORM_COLS),
        }),
        run(stage, { y, stats, x }, begin, end) {
          const [ys, xs] = [y, x].map((array) => part(array, begin, end, NORM_COLS));
          const own = stage.output((end - begin) * width);
          stage.k.normForward(ys!, own, xs!, norm(stage), end - begin);
          statsOf(stats, width, begin, end).forEach((each, i) => each.set(part(own, i, i + 1, end - begin)));
        },
      });
    }
    givesManyWhatItGivesFew<Readonly<Record<"dx" | "dy" | "x", ActivationArray> & { stats: Floats }>>({
      name: `normBackward() of ${kind}, ${from}`,
      ...{ count: NORM_ROWS, few: 40 },
      make: (stage) => ({
        dx: drawInput(stage, "dx", NORM_ROWS * NORM_COLS),
        dy: drawInput(stage, "dy", NORM_ROWS * NORM_COLS),
        x: drawInput(stage, "x", NORM_ROWS * NORM_COLS),
        stats: stage.normal("stats", NORM_ROWS * width),
      }),
      run(stage, { dx, dy, x, stats }, begin, end) {
        const [dxs, dys, xs] = [dx, dy, x].map((array) => part(array, begin, end, NORM_COLS));
        const own = stage.output((end - begin) * width), none = { weight: null, bias: null };
        statsOf(stats, width, begin, end).forEach((each, i) => own.set(each, i * (end - begin)));
        stage.k.normBackward(dxs!, none, dys!, xs!, own, norm(stage), end - begin, true);
      },
    });
  }
}
for (const [storage, draw] of STORAGES) {
  const [tokens, heads, headDim] = [211, 3, 34];
  givesManyWhatItGivesFew<{ x: ActivationArray; cos: Floats; sin: Floats; positions: Int32Array }>({
    name: `ropeApply() of ${storage}`,
    ...{ count: tokens, few: 50 },
    make: (stage) => ({
      x: draw(stage, "x", tokens * heads * headDim),
      ...{ cos: stage.normal("cos", 9 * headDim / 2), sin: stage.normal("sin", 9 * headDim / 2) },
      positions: Int32Array.from({ length: tokens }, (_, t) => t * 5 % 9),
    }),
    run({ k }, { x, cos, sin, positions }, begin, end) {
      const own = part(x, begin, end, heads * headDim);
      k.ropeApply(own, cos, sin, part(positions, begin, end), heads, headDim, headDim, false);
    },
  });
}
givesManyWhatItGivesFew<{ loss: Floats; logits: Floats; targets: Int32Array }>({
  name: "crossEntropy()",
  ...{ count: 300, few: 50 },
  make: (stage) => ({
    loss: stage.output(300),
    logits: stage.normal("logits", 300 * 57, 4),
    targets: Int32Array.from({ length: 300 }, (_, t) => t % 7 === 3 ? -1 : t * 11 % 57),
  }),
  run({ k }, { loss, logits, targets }, begin, end) {
    const own = part(targets, begin, end);
    k.crossEntropy(part(loss, begin, end), part(logits, begin, end, 57), own, 57, 0.25);
  },
});
givesManyWhatItGivesFew<Readonly<Record<"dbias" | "dy" | "x", Floats>>>({
  name: "linearBackwardWeight() of a bias of more columns than a task takes",
  ...{ count: 260, few: 100 },
  make: (stage) => ({
    dbias: stage.normal("dbias", 1100),
    ...{ dy: stage.normal("dy", 260 * 1100), x: stage.normal("x", 260) },
  }),
  // dweight is summed in another order; dbias in increasing tokens, whatever the call.
  run(stage, { dbias, dy, x }, begin, end) {
    const [slopes, inputs] = [part(dy, begin, end, 1100), part(x, begin, end)];
    stage.k.linearBackwardWeight(stage.normal("dweight", 1100), dbias, slopes, inputs, end - begin, 1100, 1);
  },
});

// Pairs by token; rows of a matrix, by number.
const [TOKENS, WIDTH, PER_TOKEN] = [400, 97, 5];
givesManyWhatItGivesFew<
  { dense: Floats; values: Floats; gathered: Floats; columns: Int32Array }
>({
  name: "pairsScatter() and pairsGather()",
  ...{ count: TOKENS, few: 100 },
  make: (stage) => ({
    dense: stage.normal("dense", TOKENS * WIDTH),
    values: stage.normal("values", TOKENS * PER_TOKEN),
    gathered: stage.normal("gathered", TOKENS * PER_TOKEN),
    columns: Int32Array.from({ length: TOKENS * PER_TOKEN }, (_, p) => p % 11 === 4 ? -1 : p * 7 % WIDTH),
  }),
  run({ k }, { dense, values, gathered, columns }, begin, end) {
    const own = <A extends Floats | Int32Array>(x: A): A => part(x, begin, end, PER_TOKEN);
    const offsets = Int32Array.from({ length: end - begin + 1 }, (_, t) => t * PER_TOKEN);
    const out = part(dense, begin, end, WIDTH);
    k.pairsScatter(out, own(values), offsets, own(columns), WIDTH);
    k.pairsGather(own(gathered), out, offsets, own(columns), WIDTH);
  },
});

Deno.test("linearBackwardData() of rows too long to be converted at once gives each token the bits it has alone", () => {
  const [tokens, rows, cols, few] = [1058, 8507, 3, 5];
  const dy = Float32Array.from({ length: tokens * rows }, (_, i) => (i * 7919 % 2003 - 1001) / 1001);
  return onEveryBackend(
    (stage) => {
      const w = stage.weight("w", rows, cols, "bf16");
      const [many, alone] = [stage.output(tokens * cols), stage.output(few * cols)];
      stage.k.linearBackwardData(many, dy, w, tokens, false);
      stage.k.linearBackwardData(alone, dy.subarray(0, few * rows), w, few, false);
      return { many, alone };
    },
    ({ many, alone }) => assertSameBits("dx", many!.subarray(0, few * cols), alone!),
    backends().filter(({ compute }) => compute === "bf16"), // others convert nothing
  );
});

Deno.test("randomNormal() of many begins with what it is of a few", () =>
  onEveryBackend((stage) => {
    const [many, few] = [stage.output(20_001), stage.output(4_001)];
    stage.k.randomNormal(many, 3, 4, 1);
    stage.k.randomNormal(few, 3, 4, 1);
    return { many, few };
  }, ({ many, few }) => {
    assertSameBits("out", many!.subarray(0, few!.length), few!);
    // A cut that began anew would repeat itself.
    const different = new Set(many).size;
    assert.ok(different > many!.length - 20, `only ${different} of ${many!.length} numbers differ`);
  }, backends()));

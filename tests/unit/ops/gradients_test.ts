// SPDX-License-Identifier: Apache-2.0
/** Every backward pass of the reference backend, through its op pair, against central differences. */
import assert from "node:assert/strict";
import { randomNormal } from "../../../lib/core/rng.ts";
import { activationBackward, activationForward } from "../../../lib/ops/activation.ts";
import { attentionBackward, attentionForward } from "../../../lib/ops/attention.ts";
import { joinColumns, splitColumns } from "../../../lib/ops/columns.ts";
import { embeddingBackward, embeddingForward } from "../../../lib/ops/embedding.ts";
import {
  chooseExperts,
  chooseExpertsBackward,
  combineRows,
  gatherRows,
  groupByExpert,
  weighRowsBackward,
} from "../../../lib/ops/experts.ts";
import type { ExpertChoice } from "../../../lib/ops/kernels/experts.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import type { NormCall } from "../../../lib/ops/kernels/model.ts";
import { linearBackward, linearForward } from "../../../lib/ops/linear.ts";
import { headLossForward, headLossForwardBackward } from "../../../lib/ops/loss.ts";
import { normAgain, normBackward, normForward } from "../../../lib/ops/norm.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { rotaryBackward, rotaryForward } from "../../../lib/ops/rotary.ts";
import { numel, type Tensor, type Weight } from "../../../lib/tensor/tensor.ts";
import {
  assertMatchesDifferences,
  assertSame,
  assertSameBits,
  assertWithin,
  weightedSum,
} from "../../compare.ts";
import { now } from "../../now.ts";

let stream = 0;

function normal(shape: readonly number[], std = 1): Tensor & { data: Float64Array } {
  const data = new Float64Array(numel(shape));
  randomNormal(data, 11, stream++, std);
  return { shape, data };
}

function trained(rows: number, cols: number): Weight & { data: Float64Array; grad: Float64Array } {
  const { data } = normal([rows, cols]);
  const grad = new Float64Array(rows * cols);
  return { name: "w", dtype: "f64", rows, cols, data, mapped: null, grad };
}

/** sum of y * dy: its gradient with respect to y is dy. Gives the arena back. */
function weighed(k: Kernels, forward: () => Tensor, dy: Tensor): number {
  const mark = k.arena.mark();
  const y = forward();
  const sum = weightedSum(y.data, dy.data);
  k.arena.release(mark);
  return sum;
}

Deno.test("a product with a weight that is kept the other way round is that with its transpose, forward and backward", () => {
  for (const [tokens, cols, rows] of [[3, 5, 2], [1, 1, 1], [4, 3, 7]] as const) {
    const k = referenceKernels();
    const [x, w, bias, dy] = [
      normal([tokens, cols]),
      trained(rows, cols),
      trained(1, rows),
      normal([tokens, rows]),
    ];
    const turned = trained(cols, rows);
    turned.data.forEach((_, i) =>
      turned.data[i] = w.data[(i % rows) * cols + Math.floor(i / rows)] as number
    );
    for (const withBias of [true, false]) {
      const own = { ...bias, grad: new Float64Array(rows) };
      const [plain, other] = [{ bias: withBias ? bias : null }, {
        bias: withBias ? own : null,
        transposed: true,
      }];
      for (const addTo of [undefined, normal([tokens, rows])]) {
        const copy = () => addTo && { addTo: { shape: addTo.shape, data: addTo.data.slice() } };
        const wanted = linearForward(k, x, w, { ...plain, ...copy() });
        assertWithin("y", linearForward(k, x, turned, { ...other, ...copy() }).data, wanted.data, 1e-12);
      }
      [w.grad, turned.grad, bias.grad].forEach((grad) => grad.fill(0));
      const dx = linearBackward(k, x, w, dy, plain);
      assertWithin("dx", linearBackward(k, x, turned, dy, other).data, dx.data, 1e-12);
      assertWithin("dbias", own.grad, bias.grad, 1e-12);
      turned.grad.forEach((d, i) =>
        assertWithin("dw", [d], [w.grad[(i % rows) * cols + Math.floor(i / rows)] as number], 1e-12)
      );
    }
    // Of a bias that is trained alone.
    const alone = { ...bias, grad: new Float64Array(rows) };
    linearBackward(k, null, { ...turned, grad: null }, dy, { bias: alone, transposed: true });
    assertWithin("dbias alone", alone.grad, columnSums(dy), 1e-12);
  }
});

function columnSums({ shape: [, width = 0], data }: Tensor): number[] {
  const sums = new Array<number>(width).fill(0);
  data.forEach((x, i) => sums[i % width] = (sums[i % width] as number) + x);
  return sums;
}

Deno.test("columns are split and joined again, whatever their widths", () => {
  for (
    const [tokens, widths] of [[3, [4, 2, 2]], [1, [1]], [5, [7, 7]], [2, [3, 5, 1]], [0, [2, 4]]] as const
  ) {
    const k = referenceKernels();
    const columns = widths.reduce((sum, width) => sum + width, 0);
    const x = normal([tokens, columns]);
    const parts = widths.map((width) => normal([tokens, width]));
    splitColumns(k, x, parts);
    let begin = 0;
    for (const { shape: [, width = 0], data } of parts) {
      data.forEach((value, i) =>
        assert.equal(value, x.data[Math.floor(i / width) * columns + begin + i % width])
      );
      begin += width;
    }
    assertSameBits("joined", joinColumns(k, parts).data, x.data);
    assert.throws(() => splitColumns(k, x, [...parts, normal([tokens, 1])]), /of columns/);
  }
});

Deno.test("linearBackward() matches finite differences for x, weight and bias, and adds to addTo", () => {
  for (const [tokens, cols, rows] of [[3, 5, 2], [1, 1, 1]] as const) {
    const k = referenceKernels();
    const [x, w, bias, dy] = [
      normal([tokens, cols]),
      trained(rows, cols),
      trained(1, rows),
      normal([tokens, rows]),
    ];
    const addTo = normal([tokens, cols]);
    const before = addTo.data.slice();
    const dx = linearBackward(k, x, w, dy, { bias, addTo });
    assertMatchesDifferences(
      () => weighed(k, () => linearForward(k, x, w, { bias }), dy),
      { x: x.data, w: w.data, bias: bias.data },
      { x: Array.from(dx.data, (v, i) => v - (before[i] as number)), w: w.grad, bias: bias.grad },
    );
  }
});

Deno.test("linearBackward() of a trained bias on a frozen weight matches finite differences", () => {
  const k = referenceKernels();
  const [x, frozen, bias, dy] = [
    normal([4, 3]),
    { ...trained(5, 3), grad: null },
    trained(1, 5),
    normal([4, 5]),
  ];
  linearBackward(k, null, frozen, dy, { bias });
  assertMatchesDifferences(
    () => weighed(k, () => linearForward(k, x, frozen, { bias }), dy),
    { bias: bias.data },
    { bias: bias.grad },
  );
});

Deno.test("embeddingBackward() matches finite differences with a repeated id", () => {
  const k = referenceKernels();
  const ids = Int32Array.of(2, 0, 2);
  const [w, dy] = [trained(4, 3), normal([3, 3])];
  embeddingBackward(k, ids, w, dy);
  const added = normal([3, 3]);
  const forward = () =>
    embeddingForward(k, ids, w, { addTo: { shape: added.shape, data: added.data.slice() } });
  for (const run of [() => embeddingForward(k, ids, w), forward]) {
    assertMatchesDifferences(() => weighed(k, run, dy), { w: w.data }, { w: w.grad });
  }
});

for (const kind of ["rms", "layer"] as const) {
  for (const unitOffset of [false, true]) {
    Deno.test(`normBackward() of ${kind} matches finite differences at odd D${unitOffset ? ", 1 + w" : ""}`, () => {
      const k = referenceKernels();
      const [x, weight, bias, dy] = [normal([3, 7]), trained(1, 7), trained(1, 7), normal([3, 7])];
      const norm: NormCall = { kind, weight, bias, eps: 1e-2, unitOffset };
      const addTo = normal([3, 7]);
      const before = addTo.data.slice();
      const forward = () => normForward(k, x, norm);
      const dx = normBackward(k, forward().residuals, norm, dy, { addTo });
      assertMatchesDifferences(
        () => weighed(k, () => forward().y, dy),
        { x: x.data, w: weight.data, bias: bias.data },
        { x: Array.from(dx.data, (v, i) => v - (before[i] as number)), w: weight.grad, bias: bias.grad },
      );
    });
  }
}

Deno.test("normAgain() gives the output of normForward() bit for bit", () => {
  const k = referenceKernels();
  const norm: NormCall = {
    kind: "layer",
    weight: trained(1, 7),
    bias: trained(1, 7),
    eps: 1e-2,
    unitOffset: false,
  };
  const { y, residuals } = normForward(k, normal([3, 7]), norm);
  assertSameBits("y", normAgain(k, residuals, norm, normal([3, 7])).data, y.data);
});

for (const rotaryDim of [6, 4, 0]) {
  Deno.test(`rotaryBackward() of ${rotaryDim} of 6 matches finite differences when the tables carry a scale`, () => {
    const k = referenceKernels();
    const [x, dy] = [normal([3, 2, 6]), normal([3, 2, 6])];
    const half = rotaryDim / 2;
    const tables = { cos: normal([4, half]).data, sin: normal([4, half]).data, rows: 4, rotaryDim };
    const positions = Int32Array.of(3, 0, 1);
    const copy = (t: Tensor): Tensor => ({ shape: t.shape, data: t.data.slice() });
    const dx = rotaryBackward(k, copy(dy), tables, positions);
    assertMatchesDifferences(
      () => weighed(k, () => rotaryForward(k, copy(x), tables, positions), dy),
      { x: x.data },
      { x: dx.data },
    );
  });
}

const KINDS = ["identity", "relu", "silu", "gelu", "gelu_tanh", "quick_gelu", "tanh", "sigmoid"] as const;

for (const kind of KINDS) {
  Deno.test(`activationBackward() of ${kind} matches finite differences, gated and alone, also in place`, () => {
    const k = referenceKernels();
    const copy = (t: Tensor): Tensor => ({ shape: t.shape, data: t.data.slice() });
    const [x, up, dy] = [normal([3, 5], 3), normal([3, 5]), normal([3, 5])];
    for (const inPlace of [false, true]) {
      const [gated, alone] = [{ x: copy(x), up: copy(up) }, { x: copy(x), up: null }];
      const { dx, dup } = activationBackward(k, gated, kind, dy, { inPlace });
      assertMatchesDifferences(
        () => weighed(k, () => activationForward(k, { x, up }, kind), dy),
        { x: x.data, up: up.data },
        { x: dx.data, up: dup.data },
      );
      const single = activationBackward(k, alone, kind, dy, { inPlace });
      assertMatchesDifferences(
        () => weighed(k, () => activationForward(k, { x, up: null }, kind), dy),
        { x: x.data },
        { x: single.dx.data },
      );
    }
  });
}

/** Two spans in grouped heads, with an empty one between them and a query row in none. */
const OWN = Int32Array.of(0, 2, 0, 3, 2, 2, 3, 3, 3, 6, 3, 7);
/** More queries than keys, queries of no keys, keys of no queries. */
const CROSS = Int32Array.of(0, 3, 0, 1, 3, 5, 1, 1, 5, 6, 1, 6, 6, 6, 6, 7);

for (
  const options of [
    { spans: OWN, sees: "past" },
    { spans: OWN, sees: "past", window: 2 },
    { spans: OWN, sees: "past", softcap: 0.75, scale: 0.5 },
    { spans: OWN, sees: "all" },
    { spans: OWN, sees: "all", window: 3, softcap: 2 },
    { spans: CROSS, sees: "all" },
  ] as const
) {
  const { spans, ...said } = options;
  const name = `attentionBackward() matches finite differences: ${JSON.stringify(said)} of ${spans}`;
  Deno.test(name, () => {
    const k = referenceKernels();
    const [q, keys, v, dO] = [normal([6, 4, 3]), normal([7, 2, 3]), normal([7, 2, 3]), normal([6, 4, 3])];
    const forward = () => attentionForward(k, q, keys, v, options);
    const { dq, dk, dv } = attentionBackward(k, forward().residuals, dO, options);
    assertMatchesDifferences(
      () => weighed(k, () => forward().y, dO),
      { q: q.data, k: keys.data, v: v.data },
      { q: dq.data, k: dk.data, v: dv.data },
    );
  });
}

Deno.test("headLossForwardBackward() matches finite differences of scale times the loss sum", () => {
  const k = referenceKernels();
  const [hidden, head] = [normal([5, 3]), trained(7, 3)];
  const targets = Int32Array.of(3, -1, 0, 6, 6);
  const scale = 0.25;
  const { dhidden } = now(headLossForwardBackward(k, hidden, head, targets, { scale, chunkRows: 2 }));
  assertMatchesDifferences(
    () => {
      const mark = k.arena.mark();
      const { lossSum } = now(headLossForward(k, hidden, head, targets, { chunkRows: 3 }));
      k.arena.release(mark);
      return scale * lossSum;
    },
    { hidden: hidden.data, head: head.data },
    { hidden: dhidden.data, head: head.grad },
  );
});

/** A mixture of experts of one factor each: y = sum over k of w_k f_e x, by the ops that rows go through. */
function mixture(k: Kernels, x: Tensor, logits: Tensor, factors: Float64Array, choice: ExpertChoice) {
  const { weights, residuals } = chooseExperts(k, logits, choice);
  const groups = groupByExpert(residuals.chosen, choice);
  const rows = gatherRows(k, x, groups.tokens);
  const width = x.shape[1] as number;
  const scaled = (by: Tensor): Tensor => {
    const data = Float64Array.from(by.data);
    for (let e = 0; e < choice.experts; e++) {
      const own = data.subarray(
        (groups.starts[e] as number) * width,
        (groups.starts[e + 1] as number) * width,
      );
      own.forEach((value, i) => own[i] = value * (factors[e] as number));
    }
    return { shape: by.shape, data };
  };
  const y = combineRows(k, scaled(rows), groups.places, weights, { active: choice.active });
  return { y, weights, residuals, groups, rows, scaled };
}

for (const normalised of [true, false]) {
  Deno.test(`a mixture of experts matches finite differences${normalised ? ", weights normalised" : ""}`, () => {
    const k = referenceKernels();
    const choice = { experts: 5, active: 2, normalised };
    const [x, logits, dy] = [normal([4, 3]), normal([4, 5]), normal([4, 3])];
    const factors = normal([5]).data;
    const { weights, residuals, groups, rows, scaled } = mixture(k, x, logits, factors, choice);
    // What comes back through the experts unweighted, then the weights, then the rows of each token.
    const dscaled = scaled(gatherRows(k, dy, groups.tokens));
    const { dx: drows, dweights } = weighRowsBackward(k, rows, groups.slots, weights, dscaled);
    const dx = combineRows(k, drows, groups.places, null, { active: 2, addTo: normal([4, 3], 0) });
    const dlogits = chooseExpertsBackward(k, residuals, choice, dweights);
    assertMatchesDifferences(
      () => weighed(k, () => mixture(k, x, logits, factors, choice).y, dy),
      { x: x.data, logits: logits.data },
      { x: dx.data, logits: dlogits.data },
    );
  });
}

Deno.test("groupByExpert() puts the rows of an expert together in the order of tokens, and back", () => {
  const chosen = Int32Array.of(0, 3, 1, 3, 0, 1);
  const { starts, slots, tokens, places } = groupByExpert(chosen, {
    experts: 4,
    active: 2,
    normalised: true,
  });
  assertSame([...starts], [0, 2, 4, 4, 6]);
  assertSame([...slots], [0, 4, 2, 5, 1, 3]);
  assertSame([...tokens], [0, 2, 1, 2, 0, 1]);
  assertSame([...places].map((row) => slots[row]), [0, 1, 2, 3, 4, 5]);
});

Deno.test("crossEntropy() of capped logits matches finite differences", () => {
  const k = referenceKernels();
  const logits = normal([3, 7], 4);
  const targets = Int32Array.of(2, -1, 6);
  const [loss, gradient] = [k.floats(3), Float64Array.from(logits.data)];
  k.crossEntropy(loss, gradient, targets, 7, 0.5, 2);
  const sum = (): number => {
    k.crossEntropy(loss, logits.data, targets, 7, 0, 2);
    return 0.5 * Array.from(loss).reduce((total, x) => total + x, 0);
  };
  assertMatchesDifferences(sum, { logits: logits.data }, { logits: gradient });
});

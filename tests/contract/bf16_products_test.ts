// SPDX-License-Identifier: Apache-2.0
/**
 * Where products are bf16, inputs are rounded to bf16 and sums kept in f32: such a backend is the oracle on rounded
 * inputs, within the f32 bound. (The other cases give it inputs that need no rounding.)
 */
import { bf16ToFloat, floatToBf16 } from "../../lib/core/half.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import type { SparsePairs, SparseShape } from "../../lib/ops/kernels/rows.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import type { Floats, Weight } from "../../lib/tensor/tensor.ts";
import { assertWithin, EPS_F32 } from "../compare.ts";
import { type Backend, backends } from "./backends.ts";
import { createStage, type Stage } from "./stage.ts";

const [TOKENS, COLS, ROWS] = [19, 67, 35];

const rounded = (values: Floats): Float64Array =>
  Float64Array.from(values, (x) => bf16ToFloat(floatToBf16(x)));

async function onBf16Backends(
  check: (stage: Stage, backend: Backend) => void | Promise<void>,
): Promise<void> {
  for (const backend of backends().filter(({ compute }) => compute === "bf16")) {
    using k = backend.open(2);
    await check(createStage(k), backend);
  }
}

/** The f32 bound of sums of products: 4 roundings of the sum of magnitudes. */
function bound(k: Kernels, sumOfProducts: (k: Kernels) => Floats): Float64Array {
  return Float64Array.from(sumOfProducts(k), (magnitude) => 4 * EPS_F32 * magnitude);
}

function weightOf(values: Floats, name: string): Weight {
  const data = values instanceof Float64Array ? values : Float32Array.from(values);
  const dtype = data instanceof Float64Array ? "f64" : "f32";
  return { name, dtype, rows: ROWS, cols: COLS, data, mapped: null, grad: null };
}

Deno.test("linearForward() and linearBackwardData() in bf16 are those of rounded inputs", async () => {
  await onBf16Backends((stage, backend) => {
    const [x, w, dy] = [
      stage.normal("x", TOKENS * COLS),
      stage.normal("w", ROWS * COLS),
      stage.normal("dy", TOKENS * ROWS),
    ] as const;
    const oracle = referenceKernels();
    const forward = (k: Kernels, input: Floats, weight: Floats) => {
      const y = k.floats(TOKENS * ROWS);
      k.linearForward(y, input, weightOf(weight, "w"), null, TOKENS, false);
      return y;
    };
    const backward = (k: Kernels, gradient: Floats, weight: Floats) => {
      const dx = k.floats(TOKENS * COLS);
      k.linearBackwardData(dx, gradient, weightOf(weight, "w"), TOKENS, false);
      return dx;
    };
    const absolute = (values: Floats) => rounded(values).map(Math.abs);
    assertWithin(
      `${backend.name}: y`,
      forward(stage.k, x, w),
      forward(oracle, rounded(x), rounded(w)),
      bound(oracle, (k) => forward(k, absolute(x), absolute(w))),
    );
    assertWithin(
      `${backend.name}: dx`,
      backward(stage.k, dy, w),
      backward(oracle, rounded(dy), rounded(w)),
      bound(oracle, (k) => backward(k, absolute(dy), absolute(w))),
    );
  });
});

Deno.test("linearBackwardWeight() in bf16 is that of rounded inputs", async () => {
  await onBf16Backends((stage, backend) => {
    const [x, dy] = [stage.normal("x", TOKENS * COLS), stage.normal("dy", TOKENS * ROWS)];
    const oracle = referenceKernels();
    const gradient = (k: Kernels, left: Floats, right: Floats) => {
      const dweight = k.floats(ROWS * COLS);
      k.linearBackwardWeight(dweight, null, left, right, TOKENS, ROWS, COLS);
      return dweight;
    };
    const absolute = (values: Floats) => rounded(values).map(Math.abs);
    assertWithin(
      `${backend.name}: dweight`,
      gradient(stage.k, dy, x),
      gradient(oracle, rounded(dy), rounded(x)),
      bound(oracle, (k) => gradient(k, absolute(dy), absolute(x))),
    );
  });
});

const SHAPE: SparseShape = {
  gate: "raw",
  scope: "token",
  tokens: TOKENS,
  hidden: COLS,
  neurons: 48,
  experts: 8,
  activeExperts: 2,
  topK: 5,
};

async function sparse(
  k: Kernels,
  routed: Floats,
  scored: Floats,
  gate: Floats,
  keys: Floats,
  values: Floats,
) {
  const room = SHAPE.tokens * SHAPE.topK;
  const matrix = (data: Floats) => {
    const rows = k.rowMatrix(SHAPE.neurons, SHAPE.hidden);
    k.rowMatrixWrite(rows, data, 0);
    return rows;
  };
  const routing = {
    logits: k.floats(SHAPE.tokens * SHAPE.experts),
    experts: new Int32Array(SHAPE.tokens * SHAPE.activeExperts),
    expertTokens: new Int32Array(SHAPE.experts),
  };
  const pairs: SparsePairs = {
    offsets: new Int32Array(SHAPE.tokens + 1),
    neurons: new Int32Array(room),
    dots: k.floats(room),
    scores: k.floats(room),
  };
  const y = k.floats(SHAPE.tokens * SHAPE.hidden);
  const call = { shape: SHAPE, gateWeight: gate, keys: matrix(keys), values: matrix(values), routing, pairs };
  await k.sparseRoute({ ...call, h: routed });
  const count = await k.sparseForward(y, { ...call, h: scored });
  return { y, neurons: pairs.neurons.subarray(0, count), dots: pairs.dots.subarray(0, count) };
}

Deno.test(
  "sparseForward() in bf16 scores rounded tokens against the high halves of the keys, and routes in f32",
  async () => {
    await onBf16Backends(async (stage, backend) => {
      const h = stage.normal("h", SHAPE.tokens * SHAPE.hidden);
      const gate = stage.normal("gate", SHAPE.experts * SHAPE.hidden);
      const [keys, values] = ["keys", "values"].map((name) =>
        stage.normal(name, SHAPE.neurons * SHAPE.hidden)
      ) as [
        Floats,
        Floats,
      ];
      const wide = (array: Floats) => Float64Array.from(array);
      const actual = await sparse(stage.k, h, h, gate, keys, values);
      const expected = await sparse(
        referenceKernels(),
        wide(h),
        rounded(h),
        wide(gate),
        rounded(keys),
        rounded(values),
      );
      assertWithin(`${backend.name}: neurons`, actual.neurons, expected.neurons, 0);
      // Standard normal inputs: a dot of 67 terms has magnitudes of about 43, a logit too, and y sums five such products.
      assertWithin(`${backend.name}: dots`, actual.dots, expected.dots, 4 * EPS_F32 * 100);
      assertWithin(`${backend.name}: y`, actual.y, expected.y, 8 * EPS_F32 * 5 * 100 * 100 * 4);
    });
  },
);

// SPDX-License-Identifier: Apache-2.0
/** The sparse adapter against the published equations computed by PyTorch: `scripts/fixtures/make_sparse.py`. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { Gate, Scope } from "../../lib/ops/kernels/rows.ts";
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { createRowGradients } from "../../lib/ops/row_gradients.ts";
import { sparseBackward, sparseForward, type SparseParams } from "../../lib/ops/sparse.ts";
import type { Floats, Tensor } from "../../lib/tensor/tensor.ts";
import { assertWithin, EPS_F32, largest } from "../compare.ts";
import { onEveryBackend } from "./agreement.ts";
import { backends, deviceRowBackends } from "./backends.ts";
import type { Outputs } from "./kernel_case.ts";

interface PublishedCase {
  readonly name: string;
  readonly shape: Readonly<
    Record<"tokens" | "hidden" | "neurons" | "experts" | "activeExperts" | "topK", number>
  >;
  readonly gate: Gate;
  readonly scope: Scope;
  readonly h: number[];
  readonly keys: number[];
  readonly values: number[];
  readonly gateWeight: number[];
  readonly dy: number[];
  readonly y: number[];
  readonly dh: number[];
  /** Null when keys are frozen. */
  readonly dkeys: number[] | null;
  readonly dvalues: number[];
  /** Null without a gate: the router has no gradient. */
  readonly dgateWeight: number[] | null;
}

const fixture = new URL("../fixtures/sparse/published.json", import.meta.url);
const { cases }: { cases: PublishedCase[] } = JSON.parse(readFileSync(fixture, "utf8"));

const RESULTS = ["y", "dh", "dkeys", "dvalues", "dgateWeight"] as const;

/** {@linkcode RESULTS}, those that there are. */
async function run(k: Kernels, test: PublishedCase): Promise<Outputs> {
  const { tokens, hidden, neurons, experts } = test.shape;
  const floats = (data: readonly number[]): Floats => {
    const array = k.floats(data.length);
    array.set(data);
    return array;
  };
  const matrix = (data: readonly number[]) => {
    const rows = k.rowMatrix(neurons, hidden);
    k.rowMatrixWrite(rows, floats(data), 0);
    return rows;
  };
  const params: SparseParams = {
    gateWeight: floats(test.gateWeight),
    gateGrad: k.floats(experts * hidden),
    keys: matrix(test.keys),
    values: matrix(test.values),
    gradients: createRowGradients(k, neurons, hidden, { keys: test.dkeys !== null }),
  };
  const tensor = (data: Floats): Tensor => ({ shape: [tokens, hidden], data });
  const [h, dy, dh] = [tensor(floats(test.h)), tensor(floats(test.dy)), tensor(k.floats(tokens * hidden))];
  const { y, residuals } = await sparseForward(k, params, h, {
    ...test.shape,
    gate: test.gate,
    scope: test.scope,
  });
  await sparseBackward(k, params, residuals, h, dy, dh);
  const { slots, keys, values } = params.gradients;
  const spread = (compact: Floats) =>
    Float64Array.from({ length: neurons * hidden }, (_, i) => {
      const slot = slots[Math.floor(i / hidden)] as number;
      return slot < 0 ? 0 : compact[slot * hidden + i % hidden] as number;
    });
  return {
    y: y.data,
    dh: dh.data,
    dvalues: spread(values),
    ...(keys && { dkeys: spread(keys) }),
    ...(test.dgateWeight && { dgateWeight: params.gateGrad as Floats }),
  };
}

/** @param bound Of each output, as a multiple of its largest element */
function compare(
  written: Readonly<Record<string, ArrayLike<number>>>,
  test: PublishedCase,
  bound: number,
): void {
  for (const name of RESULTS) {
    const [actual, expected] = [written[name], test[name]];
    assert.equal(actual === undefined, expected === null, `only one side has ${name}`);
    if (actual === undefined || expected === null) continue;
    assertWithin(name, actual, expected, bound * largest(expected));
  }
}

for (const test of cases) {
  Deno.test(`referenceKernels() agree with PyTorch to 1e-10 on the published sparse adapter: ${test.name}`, async () => {
    compare(await run(referenceKernels(), test), test, 1e-10);
  });

  // Sums of at most 13 products of three factors, twice nested: their magnitudes are within a few times the largest
  // element. Inputs are exact in bf16, so the bound is that of f32 for both types of product.
  Deno.test(`every backend agrees with PyTorch on the published sparse adapter: ${test.name}`, () =>
    onEveryBackend((stage) => run(stage.k, test), (written) => compare(written, test, 32 * EPS_F32), [
      ...backends(),
      ...deviceRowBackends(),
    ]));
}

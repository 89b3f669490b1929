// SPDX-License-Identifier: Apache-2.0
/** A contract case of two calls of the sparse adapter whose row gradients add up. */
import assert from "node:assert/strict";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import type { KernelCase, Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import {
  addGradients,
  firedPairs,
  gradientsOf,
  routedCall,
  runSparse,
  type SparseCase,
  spreadRows,
} from "./sparse_case.ts";
import { sparseMagnitudes } from "./sparse_magnitudes.ts";

/** A call of a few tokens, and one of more: old slots are added to, new ones are written behind them. */
async function runTwoCalls(stage: Stage, [few, more]: readonly [SparseCase, SparseCase]): Promise<Outputs> {
  const gradients = gradientsOf(stage, more);
  const counts: number[] = [];
  for (const test of [few, more]) {
    const call = await routedCall(stage, test);
    const y = stage.hostOutput(test.shape.tokens * test.shape.hidden);
    const pairs = firedPairs(call.pairs, await stage.k.sparseForward(y, call));
    await addGradients(stage, { ...call, pairs }, gradients);
    counts.push(gradients.rowCount);
  }
  const [first, both] = counts as [number, number];
  assert.ok(first > 0 && both > first, "the second call meets old and new rows");
  const rows = gradients.rows.subarray(0, gradients.rowCount);
  return {
    rows,
    counts: Int32Array.from(counts),
    dkeys: spreadRows(gradients.keys as Floats, rows, more),
    dvalues: spreadRows(gradients.values, rows, more),
  };
}

/** Those of both calls, each of which counts its way back twice. */
async function twoCallsMagnitudes(stage: Stage, tests: readonly SparseCase[]): Promise<Outputs> {
  const sizes = await Promise.all(tests.map(async (test) => {
    const whole = await runSparse(stage, test);
    const { dkeys, dvalues } = sparseMagnitudes(stage, test, whole) as Record<"dkeys" | "dvalues", Floats>;
    return [dkeys, dvalues].map((compact) => spreadRows(compact, whole.rows as Int32Array, test));
  }));
  const sum = (i: number) => sizes[0]![i]!.map((size, at) => size + sizes[1]![i]![at]!);
  return { dkeys: sum(0), dvalues: sum(1) };
}

/** A case of two calls whose gradients add up: of one adapter, the second with more tokens. */
export const twoCallsCase = (tests: readonly [SparseCase, SparseCase]): KernelCase => ({
  name: `sparseTouch() and sparseBackward() add up over calls: ${tests[1].label}`,
  run: (stage) => runTwoCalls(stage, tests),
  magnitudes: (stage) => twoCallsMagnitudes(stage, tests),
  multiple: 2,
});

// SPDX-License-Identifier: Apache-2.0
/** Nothing reads what was not written: with NaN in all scratch memory, every bit is as without. */
import assert from "node:assert/strict";
import { full, lora, parallel, sparse } from "../../../lib/methods/methods.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { assertSame } from "../../compare.ts";
import { nanMemory } from "../../fixtures/nan_memory.ts";
import {
  parameterBytes,
  SMALL_SPARSE,
  smallData,
  smallModel,
  smallOptions,
} from "../../unit/train/small_run.ts";

/** Of 192 tokens that are scored at once, in odd numbers. */
const PACKED = { size: 4, micro: 2, seqLen: 59, packing: true };

const RUNS: Readonly<Record<string, RunOptions>> = {
  "sparse, packed": {},
  "sparse, rows that step in the backward pass": {
    optimizer: adamw({ lr: 0.02, clip: null }),
    batch: { ...PACKED, size: 4, micro: 4 },
  },
  "sparse, one row at a time, recomputed": {
    batch: { size: 2, micro: 1, seqLen: 12 },
    activations: "recompute",
  },
  "sparse union, softmax": { method: sparse({ ...SMALL_SPARSE, scope: "union", gate: "softmax" }) },
  "sparse, sigmoid, frozen keys, on the device": {
    method: sparse({ ...SMALL_SPARSE, gate: "sigmoid", keys: "frozen" }),
    placement: "device",
    cachedRows: 30,
  },
  "sparse in halves": { halves: 2 },
  "parallel": { method: parallel({ neurons: 5 }) },
  "LoRA with dropout": {
    method: lora({ rank: 3, dropout: 0.2, targets: ["q", "down"] }),
    activations: "recompute",
  },
  "full": { method: full() },
};

async function trained(kernels: Kernels, options: RunOptions) {
  using model = smallModel(kernels);
  const run = plan(model, smallOptions({ batch: PACKED, steps: 2, ...options }));
  const data = { ...smallData(24), seqLen: 59 };
  const losses: (number | null)[] = [];
  const training = train(run, data, { evalData: smallData(5, 99) });
  for await (const { loss, evalLoss } of training) {
    losses.push(loss, evalLoss);
  }
  return { losses, bits: parameterBytes(training.adapter?.parameters ?? []) };
}

for (const [i, [name, options]] of Object.entries(RUNS).entries()) {
  // Each packs and copies in its own way: the first ones cover both.
  for (const compute of i < 2 ? ["f32", "bf16"] as const : [i % 2 === 0 ? "f32" : "bf16"] as const) {
    Deno.test(`train() reads nothing that it has not written: ${name}, ${compute}`, async () => {
      using plain = nativeKernels({ compute, threads: 1 });
      using filled = nativeKernels({ compute, threads: 1 });
      const expected = await trained(plain, options);
      assert.ok(expected.losses.every((loss) => loss === null || loss < 10));
      assertSame(await trained(nanMemory(filled), options), expected);
    });
  }
}

Deno.test("nanMemory() hands out NaN, wherever somebody wrote before", () => {
  using k = nativeKernels({ compute: "f32", threads: 1 });
  const { arenaFloats, hostFloats, arena, twin } = nanMemory(k);
  for (const floats of [arenaFloats(3), hostFloats(3), twin().arenaFloats(3)]) {
    assert.deepEqual([...floats], [NaN, NaN, NaN]);
  }
  assert.deepEqual([...arena.i32(2)], [-1, -1]);
  const mark = arena.mark();
  arenaFloats(3).fill(1);
  arena.release(mark);
  assert.deepEqual([...arenaFloats(3)], [NaN, NaN, NaN]);
});

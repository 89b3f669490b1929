// SPDX-License-Identifier: Apache-2.0
/** Deep models on coupled streams, on the library: what is undone is what was there, to the bit, and so are the gradients. */
import assert from "node:assert/strict";
import type { AdapterParams } from "../../../lib/adapters/adapter.ts";
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import { resolveAdapter } from "../../../lib/adapters/registry.ts";
import { COUPLING_NAMES } from "../../../lib/adapters/wiring/options.ts";
import { nextIntegerBelow, randomStream } from "../../../lib/core/rng.ts";
import type { UndoingChoice } from "../../../lib/activations/policy.ts";
import type { Batch } from "../../../lib/data/batch.ts";
import { lossAndGradients } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import type { Model } from "../../../lib/models/model.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { nativeKernels } from "../../../lib/ops/native/native_kernels.ts";
import { gradientSquares } from "../../../lib/optim/clip.ts";
import { clearGradients } from "../../../lib/optim/parameters.ts";
import { assertSame, assertWithin } from "../../compare.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { checkpointFixture } from "../../fixtures/checkpoint_fixture.ts";
import { created, deep } from "../../fixtures/deep_model.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { wholeGradients } from "../../unit/train/gradients.ts";

const CASES = [
  { name: "llama", ...modelFixture("llama3_tied") },
  { name: "bert", ...checkpointFixture("encoders/bert_labels") },
];

const SPARSE = { neurons: 48, experts: 12, activeExperts: 2, topK: 3 } as const;

async function gradients(
  model: Model,
  params: AdapterParams,
  batch: Batch,
  activations: "store" | "recompute" | "reversible",
  undoing: UndoingChoice = {},
) {
  clearGradients(model.kernels, params.parameters);
  const attached = attachAdapter(model, params, model.kernels, {
    training: { seed: 1, step: 2, firstToken: 3 },
  });
  const { lossSum } = await lossAndGradients(attached.model, batch, attached.hooks, {
    activations,
    undoing,
    lossScale: 1,
  });
  return { lossSum, gradients: [...wholeGradients(params.parameters).values()] };
}

for (const { name, dir, batch } of CASES) {
  for (const wiring of COUPLING_NAMES) {
    for (const compute of ["f32", "bf16"] as const) {
      Deno.test(`${wiring} of ${name} in ${compute}, 1 to 48 layers: gradients of undone layers are those of stored ones, to the bit`, async () => {
        using kernels = nativeKernels({ compute });
        using shallow = openCheckpoint(dir, kernels);
        for (const depth of [1, 2, 12, 24, 48]) {
          const model = deep(shallow, depth);
          const params = created(model, "bottleneck", { wiring }, batch.ids.length);
          const stored = await gradients(model, params, batch, "store");
          assert.ok(Number.isFinite(stored.lossSum));
          for (const activations of ["recompute", "reversible"] as const) {
            const found = await gradients(model, params, batch, activations);
            assert.equal(found.lossSum, stored.lossSum, `${activations}, ${depth} layers`);
            assertSame(found.gradients, stored.gradients);
          }
          params.release();
        }
      });
    }
  }

  for (
    const [kind, options] of [
      ["sparse", SPARSE],
      ["sparse", { ...SPARSE, scope: "union" }],
      ["parallel", { neurons: 7 }],
      ["lora", { rank: 2, dropout: 0.2 }],
    ] as const
  ) {
    const shown = `${kind}${"scope" in options ? ` of scope ${options.scope}` : ""}`;
    Deno.test(`${shown} under meft1 and meft3 of ${name}, 60 layers: undone to the bit`, async () => {
      using kernels = nativeKernels({ compute: "f32" });
      using shallow = openCheckpoint(dir, kernels);
      const model = deep(shallow, 60);
      for (const wiring of ["meft1", "meft3"]) {
        const params = created(model, kind, { ...options, wiring }, batch.ids.length);
        const stored = await gradients(model, params, batch, "store");
        for (const undoing of [{}, { anchorEvery: 3 }, { anchorEvery: 1000 }]) {
          const found = await gradients(model, params, batch, "reversible", undoing);
          assert.equal(found.lossSum, stored.lossSum);
          assertSame(found.gradients, stored.gradients);
        }
        params.release();
      }
    });
  }
}

Deno.test("streams of floats drift as they are undone, and anchors hold them", async () => {
  const { dir, batch } = modelFixture("llama3_tied");
  using kernels = nativeKernels({ compute: "f32" });
  using shallow = openCheckpoint(dir, kernels);
  const model = deep(shallow, 24);
  const params = created(model, "bottleneck", { wiring: "meft1", streams: "f32" }, batch.ids.length);
  const worst = async (anchorEvery?: number): Promise<number> => {
    const stored = await gradients(model, params, batch, "store");
    const found = await gradients(model, params, batch, "reversible", { anchorEvery });
    const errors = found.gradients.map((gradient, i) => {
      const wanted = stored.gradients[i]!;
      const size = Math.sqrt(wanted.reduce((sum, x) => sum + x * x, 0));
      return Math.sqrt(gradient.reduce((sum, x, j) => sum + (x - wanted[j]!) ** 2, 0)) / (size || 1);
    });
    return errors.every(Number.isFinite) ? Math.max(...errors) : Infinity;
  };
  const [plain, held, third] = [await worst(1000), await worst(1), await worst(3)];
  assert.ok(plain > 1e-2, `${plain} without anchors`);
  assert.ok(held < 1e-5, `${held} with anchors everywhere`);
  assert.ok(held < third && third < 1e-3, `${third} with anchors in every third layer`);
});

for (const scope of ["token", "union"] as const) {
  Deno.test(`streams of floats with a sparse adapter of scope ${scope}: neurons of nearly equal scores fire as they fired`, async () => {
    const { dir, batch } = modelFixture("llama3_tied");
    using kernels = nativeKernels({ compute: "f32" });
    using shallow = openCheckpoint(dir, kernels);
    const model = deep(shallow, 24);
    for (const wiring of ["meft1", "meft3"]) {
      const options = { ...SPARSE, wiring, scope, streams: "f32" };
      const params = created(model, "sparse", options, batch.ids.length);
      nearlyEqualPairs(kernels, params);
      const training = { seed: 1, step: 2, firstToken: 3 };
      const run = async (activations: "store" | "reversible", anchorEvery?: number) => {
        clearGradients(kernels, params.parameters);
        const { hooks } = attachAdapter(model, params, kernels, { training });
        const undoing = anchorEvery === undefined ? undefined : { anchorEvery };
        await lossAndGradients(model, batch, hooks, { activations, lossScale: 1, undoing });
        const fired = params.layerActivity!().map(({ firedNeurons }) => firedNeurons.toSorted());
        return { fired, gradients: [...wholeGradients(params.parameters).values()] };
      };
      const stored = await run("store");
      assert.ok(stored.fired.some(({ length }) => length < SPARSE.neurons), "not all fire");
      for (const anchorEvery of [undefined, 1]) {
        const found = await run("reversible", anchorEvery);
        if (scope === "union" && anchorEvery === undefined) { // far off, fewer score above 0, but no others
          for (const [layer, fired] of found.fired.entries()) {
            assert.ok(new Set(fired).isSubsetOf(new Set(stored.fired[layer]!)), `layer ${layer}`);
          }
          continue;
        }
        assertSame(found.fired, stored.fired, `${wiring}, anchors every ${anchorEvery}`);
        if (anchorEvery !== 1) continue;
        for (const [i, wanted] of stored.gradients.entries()) {
          const size = Math.sqrt(wanted.reduce((sum, x) => sum + x * x, 0));
          assertWithin(`gradient ${i}`, found.gradients[i]!, wanted, 1e-3 * size);
        }
      }
      params.release();
    }
  });
}

/** Each second key is the one before it, but for a rounding: which of both scores higher a rounding of h decides. */
function nearlyEqualPairs(k: Kernels, { parameters }: AdapterParams): void {
  for (const parameter of parameters) {
    if (parameter.kind !== "rows" || !parameter.name.endsWith(".keys")) continue;
    const { matrix } = parameter;
    const all = new Float32Array(matrix.rows * matrix.cols);
    k.rowMatrixRead(all, matrix, 0);
    for (let row = 1; row < matrix.rows; row += 2) {
      for (let c = 0; c < matrix.cols; c++) {
        const off = 1 + ((row + c) % 3 - 1) * 2 ** -22;
        all[row * matrix.cols + c] = (all[(row - 1) * matrix.cols + c] as number) * off;
      }
    }
    k.rowMatrixWrite(matrix, all, 0);
  }
}

/** More rows than slots, and streams in which the last bit of a sum is seen. */
const MANY_CHUNKS = { activeExperts: 6, topK: 12, lambda: 0.5, fractionBits: 20 } as const;

function randomFloats(count: number): Float32Array {
  const random = randomStream(3, 1);
  return Float32Array.from({ length: count }, () => nextIntegerBelow(random, 2001) / 4000 - 0.25);
}

Deno.test("on a device: gradients of undone layers are those of stored ones, to the bit", async () => {
  openTestDevice();
  const { dir, batch } = modelFixture("llama3_tied");
  using kernels = cudaKernels({ compute: "f32" });
  using shallow = openCheckpoint(dir, kernels);
  const model = deep(shallow, 5);
  const cases = [
    ["bottleneck", { wiring: "meft1", combination: "alpha" }, { kind: "host" }],
    ["bottleneck", { wiring: "meft3", combination: "mean" }, { kind: "host" }],
    ["sparse", { ...SPARSE, wiring: "meft2" }, { kind: "host" }],
    ["sparse", { ...SPARSE, wiring: "meft1" }, { kind: "device", cachedRows: 20 }],
    ["sparse", { ...SPARSE, ...MANY_CHUNKS, wiring: "meft1" }, { kind: "device", cachedRows: 5 }],
  ] as const;
  for (const [kind, options, placement] of cases) {
    const { adapter, problems } = resolveAdapter({ kind, options }, model.config);
    assert.deepEqual(problems, []);
    const params = adapter.create(kernels, model, batch.ids.length);
    params.init(kernels, 5);
    for (const parameter of params.parameters) { // rows that were trained: they begin as zeros
      if (parameter.kind !== "rows") continue;
      const { matrix } = parameter;
      kernels.rowMatrixWrite(matrix, randomFloats(matrix.rows * matrix.cols), 0);
    }
    const run = async (activations: "store" | "reversible") => {
      params.forgetRows?.();
      clearGradients(kernels, params.parameters);
      const { hooks } = attachAdapter(model, params, kernels, {
        training: { seed: 1, step: 2, firstToken: 3 },
        placement,
      });
      const { lossSum } = await lossAndGradients(model, batch, hooks, { activations, lossScale: 1 });
      await params.collectGradients?.();
      const squares = [...(await gradientSquares(kernels, params.parameters)).values()];
      return { lossSum, squares };
    };
    const stored = await run("store");
    assert.ok(stored.squares.some((square) => square > 0));
    const undone = await run("reversible");
    assert.equal(undone.lossSum, stored.lossSum);
    // Gradients of rows are added up as these come and go; what layers give is summed in the order that it was.
    const bound = placement.kind === "host" ? 0 : 1e-12;
    assertWithin(kind, undone.squares, stored.squares, stored.squares.map((square) => bound * square));
    params.release();
  }
});

// SPDX-License-Identifier: Apache-2.0
/** Clipping by layer: from a fresh state the first moments are (1 - beta1) times the clipped gradients. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import { full, lora, type Method, parallel, sparse } from "../../../lib/methods/methods.ts";
import { clipFactor, globalNorm } from "../../../lib/optim/clip.ts";
import { isTrained, liveGradient, type Parameter } from "../../../lib/optim/parameters.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { accumulate, update } from "../../../lib/train/step.ts";
import { assertWithin } from "../../compare.ts";
import { SMALL_SPARSE, smallData, smallModel, smallOptions } from "./small_run.ts";
import { now } from "../../now.ts";

const METHODS: Readonly<Record<string, Method>> = {
  sparse: sparse(SMALL_SPARSE),
  parallel: parallel({ neurons: 8 }),
  lora: lora({ rank: 2, alpha: 4 }),
  "lora by layer and site": lora({
    targets: ".*[01]\\.(mlp\\.up|self_attn\\.q)_proj",
    rankPattern: { up: 5 },
  }),
  full: full(),
};
const CLIP = 0.01;
const BETA1 = 0.8;

/** Norms of a fresh state's gradients, of all and by layer, and by how much its first step multiplied each parameter's. */
async function firstStep(method: Method, clipBy: "all" | "layer") {
  using model = smallModel();
  const optimizer = adamw({ clip: CLIP, clipBy, beta1: BETA1, mode: "dense" });
  const run = plan(model, smallOptions({ method, optimizer }));
  const { kernels: k } = model;
  const state = init(run);
  const data = trainingSteps(smallData(), batchOptions(run)).next().value;
  await accumulate(run, state, data);
  const { parameters, byLayer } = state.params;
  const norm = now(globalNorm(k, parameters));
  const layers = [...byLayer, parameters.filter((one) => !byLayer.flat().includes(one))];
  const norms = layers.map((layer) => now(globalNorm(k, layer)));
  const lengths = new Map(
    parameters.filter(isTrained).map((one) => [one.name, Math.sqrt(now(k.sumSquares(liveGradient(one))))]),
  );
  const gradScale = clipBy === "all" ? clipFactor(norm, CLIP) : 1;
  const { optim } = await update(run, state, { step: 1, lr: 0.01, gradScale }, data);
  const factorOf = (one: Parameter): number => {
    const { m } = optim.moments.get(one.name)!;
    return Math.sqrt(now(k.sumSquares(m))) / (1 - BETA1) / lengths.get(one.name)!;
  };
  const moved = (layer: readonly Parameter[]) =>
    layer.filter((one) => isTrained(one) && lengths.get(one.name)! > 0).map(factorOf);
  return { norm, norms, factors: layers.map(moved) };
}

for (const [name, method] of Object.entries(METHODS)) {
  Deno.test(`an update that clips by layer multiplies each layer by its own factor: ${name}`, async () => {
    const { norms, factors } = await firstStep(method, "layer");
    assert.ok(new Set(norms.filter((norm) => norm > 0)).size >= 2, "layers differ");
    factors.forEach((ofLayer, i) => {
      const expected = clipFactor(norms[i] as number, CLIP);
      assert.ok(expected < 1 || norms[i] === 0, `layer ${i} is clipped`);
      assertWithin(`factors of layer ${i}`, ofLayer, ofLayer.map(() => expected), 1e-5 * expected);
    });
    assert.ok(factors.flat().length >= 2);
  });

  Deno.test(`an update that clips all gradients multiplies them by one factor: ${name}`, async () => {
    const { norm, factors } = await firstStep(method, "all");
    const expected = clipFactor(norm, CLIP);
    assert.ok(expected < 1);
    const all = factors.flat();
    assertWithin("factors", all, all.map(() => expected), 1e-5 * expected);
  });
}

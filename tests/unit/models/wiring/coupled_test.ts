// SPDX-License-Identifier: Apache-2.0
/**
 * Two residual streams through the same policies that run a plain model's one: a coupling made of a model's own sublayers.
 *
 *   u = a x1 + F(x2),  v = b x2 + G(u),  y = (v, u)      F attention, G a feed-forward, each of one layer
 */
import { hooksOf } from "../../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import {
  type ActivationPolicy,
  type Pass,
  releasing,
  type Stage,
  type Step,
  type Streams,
  streamsLike,
} from "../../../../lib/activations/policy.ts";
import { ACTIVATION_POLICIES } from "../../../../lib/activations/registry.ts";
import { batchSteps } from "../../../../lib/models/engine/source.ts";
import { inputForward } from "../../../../lib/models/engine/input.ts";
import { outputBackward, outputForward } from "../../../../lib/models/engine/output.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import { layersOf } from "../../../../lib/models/parts.ts";
import { sublayerStage } from "../../../../lib/models/sublayers/registry.ts";
import { arenaTensor } from "../../../../lib/ops/arena_tensor.ts";
import type { Kernels } from "../../../../lib/ops/kernels/kernels.ts";
import { headLossForwardBackward } from "../../../../lib/ops/loss.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import type { Tensor } from "../../../../lib/tensor/tensor.ts";
import { assertWithin } from "../../../compare.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { probeHook } from "../../../fixtures/probe_hook.ts";
import { now } from "../../../now.ts";
import { targetIds } from "../../../../lib/data/batch.ts";
import { asLmHead } from "../../../../lib/models/heads/lm.ts";

const { dir, batch } = modelFixture("qwen2_tied");
const [A, B] = [0.5, 0.8];

/** What both functions left. */
interface Both {
  readonly f: unknown;
  readonly g: unknown;
}

/** to = scale * x + y. */
function combine(to: Tensor, scale: number, x: Tensor, y: Tensor): void {
  to.data.forEach((_, i) => to.data[i] = scale * (x.data[i] as number) + (y.data[i] as number));
}

function couple(k: Kernels, F: Stage<unknown>, G: Stage<unknown>): Step<Both> {
  const copy = (x: Tensor): Tensor => {
    const y = arenaTensor(k, x.shape);
    y.data.set(x.data);
    return y;
  };
  return {
    needsBackward: true,
    async forward([x1, x2], [v, u], first) {
      const [fy, gy] = streamsLike(k, [u!, v!]);
      const f = await F.forward(x2!, fy!, first && { first: first.f, needsOutput: true });
      combine(u!, A, x1!, fy!);
      const g = await G.forward(u!, gy!, first && { first: first.g, needsOutput: false });
      combine(v!, B, x2!, gy!);
      return { f, g };
    },
    async backward({ f, g }, [d1, d2]) {
      const [dv, du] = [copy(d1!), copy(d2!)];
      const throughG = copy(dv);
      await G.backward(g, throughG);
      combine(du, 1, du, throughG);
      const throughF = copy(du);
      await F.backward(f, throughF);
      d1!.data.forEach((_, i) => d1!.data[i] = A * (du.data[i] as number));
      combine(d2!, B, dv, throughF);
    },
    async inverse([v, u], [x1, x2]) {
      const [fy, gy] = streamsLike(k, [u!, v!]);
      const g = await G.forward(u!, gy!);
      x2!.data.forEach((_, i) => x2!.data[i] = ((v!.data[i] as number) - (gy!.data[i] as number)) / B);
      const f = await F.forward(x2!, fy!);
      x1!.data.forEach((_, i) => x1!.data[i] = ((u!.data[i] as number) - (fy!.data[i] as number)) / A);
      return { f, g };
    },
  };
}

/** Keeps nothing but the last streams: what a step can be undone for. */
const reversible: ActivationPolicy = {
  reruns: true,
  run: <Residuals>(k: Kernels, { steps, x, dx, turn }: Pass<Residuals>): Promise<void> =>
    releasing(k, async () => {
      let [now, other]: Streams[] = [streamsLike(k, x), streamsLike(k, x)];
      x.forEach((stream, i) => now![i]!.data.set(stream.data));
      for (const step of steps) {
        const mark = k.arena.mark();
        await step.forward(now!, other!);
        k.arena.release(mark);
        [now, other] = [other, now];
      }
      await turn(now!);
      for (const step of steps.toReversed()) {
        const mark = k.arena.mark();
        await step.backward(await step.inverse!(now!, other!), dx);
        k.arena.release(mark);
        [now, other] = [other, now];
      }
    }),
};

/** Scales of the hooks on both branches. */
type Scales = Readonly<Record<"attention" | "ffn", number>>;
const SCALES: Scales = { attention: -0.2, ffn: 0.4 };

/** A pass of a deep coupled model; @returns the loss, the gradients of both scales and what was kept at the turn. */
async function pass(policy: ActivationPolicy, scales: Scales = SCALES) {
  const k = referenceKernels();
  using model = openCheckpoint(dir, k);
  const probes = { attention: probeHook(scales.attention, true), ffn: probeHook(scales.ffn, false) };
  let [lossSum, kept] = [0, 0];
  await releasing(k, async () => {
    const [step] = batchSteps(model, batch, hooksOf(probes));
    const steps = [...layersOf(model.parts), ...layersOf(model.parts)].map(([attention, ffn], layer) =>
      couple(k, sublayerStage(step!, layer, attention!, true), sublayerStage(step!, layer, ffn!, true))
    );
    const [stack] = model.parts.stacks;
    const { x } = inputForward(k, stack.input, batch);
    const dx = streamsLike(k, [x, x]);
    const start = k.arena.usedBytes;
    const turn = ([y1, y2]: Streams): void => {
      kept = k.arena.usedBytes - start;
      const mean = arenaTensor(k, x.shape);
      mean.data.forEach((_, i) => mean.data[i] = ((y1!.data[i] as number) + (y2!.data[i] as number)) / 2);
      const { hidden, residuals } = outputForward(k, stack, mean);
      const { weight } = asLmHead(model.parts.head);
      const loss = now(headLossForwardBackward(k, hidden, weight, targetIds(batch), { scale: 1 }));
      lossSum = loss.lossSum;
      const dmean = arenaTensor(k, x.shape);
      outputBackward(k, stack, residuals, loss.dhidden, dmean);
      for (const stream of dx) dmean.data.forEach((d, i) => stream.data[i] = d / 2);
    };
    await policy.run(k, { steps, x: [x, x], dx, turn });
  });
  return { lossSum, gradients: [probes.attention.dscale, probes.ffn.dscale], kept };
}

Deno.test("two coupled streams get the same gradients from every policy, and those of finite differences", async () => {
  const { store, recompute } = ACTIVATION_POLICIES;
  const wanted = await pass(store);
  assert.deepEqual({ ...await pass(recompute), kept: 0 }, { ...wanted, kept: 0 }, "recomputing is exact");
  const undone = await pass(reversible);
  assert.equal(undone.lossSum, wanted.lossSum);
  assertWithin("gradients", undone.gradients, wanted.gradients, 1e-9); // f64, undone twice two layers
  const e = 1e-5;
  for (const [i, name] of (["attention", "ffn"] as const).entries()) {
    const [above, below] = [
      await pass(store, { ...SCALES, [name]: SCALES[name] + e }),
      await pass(store, {
        ...SCALES,
        [name]: SCALES[name] - e,
      }),
    ];
    const difference = (above.lossSum - below.lossSum) / (2 * e);
    assertWithin(
      name,
      [wanted.gradients[i] as number],
      [difference],
      1e-6 * Math.max(1, Math.abs(difference)),
    );
  }
});

Deno.test("of two coupled streams, recomputing keeps less than storing, and undoing less than both", async () => {
  const { store, recompute } = ACTIVATION_POLICIES;
  const [stored, recomputed, undone] = [await pass(store), await pass(recompute), await pass(reversible)];
  assert.ok(undone.kept < recomputed.kept, `${undone.kept} of ${recomputed.kept} bytes`);
  assert.ok(recomputed.kept < stored.kept, `${recomputed.kept} of ${stored.kept} bytes`);
});

// SPDX-License-Identifier: Apache-2.0
/** Two streams through a model's own layers: the same gradients by every policy, those of finite differences, and the starts. */
import assert from "node:assert/strict";
import type { UndoingChoice } from "../../../../lib/activations/policy.ts";
import { ACTIVATION_POLICIES, type ActivationPolicyName } from "../../../../lib/activations/registry.ts";
import type { Batch } from "../../../../lib/data/batch.ts";
import { evaluateLoss, forwardLogits, lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import type { BranchHook, Hooks } from "../../../../lib/models/hooks.ts";
import { openCheckpoint } from "../../../../lib/models/load.ts";
import type { Model } from "../../../../lib/models/model.ts";
import { type Coupling, type CouplingName, COUPLINGS } from "../../../../lib/models/wiring/coupling.ts";
import { StreamOverflowError } from "../../../../lib/models/wiring/overflow.ts";
import { referenceKernels } from "../../../../lib/ops/reference/reference.ts";
import type { Weight } from "../../../../lib/tensor/tensor.ts";
import { assertSame, assertWithin } from "../../../compare.ts";
import { checkpointFixture } from "../../../fixtures/checkpoint_fixture.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";
import { probeHook } from "../../../fixtures/probe_hook.ts";

const NAMES = Object.keys(COUPLINGS) as CouplingName[];
const POLICIES = Object.keys(ACTIVATION_POLICIES) as ActivationPolicyName[];

/** A decoder with norms before its sublayers, and an encoder with norms behind them. */
const CASES = [
  { family: "decoder", ...modelFixture("qwen2_tied") },
  { family: "encoder", ...checkpointFixture("encoders/bert_labels") },
];

function alphaOf(value: number): Weight {
  return {
    name: "alpha",
    dtype: "f64",
    rows: 1,
    cols: 1,
    data: Float64Array.of(value),
    mapped: null,
    grad: new Float64Array(1),
  };
}

/** A coupling with coefficients that are far from the plain model's. */
function coupling(name: CouplingName, own: Partial<Coupling> = {}): Coupling {
  const of = COUPLINGS[name];
  const small: readonly string[] = of.small;
  return {
    of,
    lambda: small.includes("lambda") ? 0.25 : 1,
    beta: small.includes("beta") ? 0.25 : 1,
    switched: of.switched,
    streams: { kind: "exact", fraction: 20 },
    top: "stream",
    lowest: 0,
    ...own,
  };
}

/** Scales of the hooks at the places of a coupling. */
type Scales = Readonly<Record<"ffn" | "alone" | "attention", number>>;
const SCALES: Scales = { ffn: 0.4, alone: -0.3, attention: 0.2 };

/** Hooks beside feed-forwards, on the function that stands alone, and behind attention, each where the coupling has a place. */
function probes(of: Coupling["of"], scales: Scales) {
  const [ffn, alone, attention] = [
    probeHook(scales.ffn, true),
    probeHook(scales.alone, false),
    probeHook(scales.attention, false),
  ];
  const hooks: Hooks = of.alone
    ? { branch: new Map<string, BranchHook[]>([["ffn", [ffn]], ["alone", [alone]]]) }
    : { branch: new Map([["ffn", [ffn]]]), behind: new Map([["attention", [attention]]]) };
  const places = of.alone ? { ffn, alone } : { ffn, attention };
  return { hooks, places };
}

interface Way {
  readonly activations: ActivationPolicyName;
  readonly undoing?: UndoingChoice;
}

/** Loss and gradients of the scales. */
async function pass(model: Model, batch: Batch, own: Coupling, way: Way, scales = SCALES) {
  const { hooks, places } = probes(own.of, scales);
  const loss = await lossAndGradients(model, batch, { ...hooks, coupling: own }, { ...way, lossScale: 1 });
  const alpha = typeof own.top === "object" ? [...own.top.alpha.grad ?? []] : [];
  return {
    lossSum: loss.lossSum,
    gradients: [...Object.values(places).map(({ dscale }) => dscale), ...alpha],
  };
}

for (const { family, dir, batch } of CASES) {
  for (const name of NAMES) {
    Deno.test(`${name} of a ${family}: every policy gives the same bits, undone or not`, async () => {
      using model = openCheckpoint(dir, referenceKernels());
      for (const top of ["mean", "stream", "alpha"] as const) {
        const own = (): Coupling => coupling(name, { top: top === "alpha" ? { alpha: alphaOf(0.3) } : top });
        const wanted = await pass(model, batch, own(), { activations: "store" });
        for (const activations of POLICIES) {
          assert.deepEqual(await pass(model, batch, own(), { activations }), wanted, `${activations} ${top}`);
        }
        for (const undoing of [{ steps: 0 }, { steps: 1 }, { anchorEvery: 1 }, { anchorEvery: 1000 }]) {
          const found = await pass(model, batch, own(), { activations: "reversible", undoing });
          assert.deepEqual(found, wanted, JSON.stringify(undoing));
        }
      }
    });

    Deno.test(`${name} of a ${family}: gradients are those of finite differences`, async () => {
      using model = openCheckpoint(dir, referenceKernels());
      const own = coupling(name, { streams: { kind: "f32" }, top: { alpha: alphaOf(0.3) } });
      const { gradients } = await pass(model, batch, own, { activations: "reversible" });
      const places = own.of.alone ? (["ffn", "alone"] as const) : (["ffn", "attention"] as const);
      const e = 1e-5;
      const lossAt = async (scales: Scales, alpha: number): Promise<number> => {
        const { hooks } = probes(own.of, scales);
        return (await evaluateLoss(model, batch, {
          ...hooks,
          coupling: { ...own, top: { alpha: alphaOf(alpha) } },
        })).lossSum;
      };
      const quotients: number[] = [];
      for (const place of places) {
        const at = (along: number) => lossAt({ ...SCALES, [place]: SCALES[place] + along }, 0.3);
        quotients.push((await at(e) - await at(-e)) / (2 * e));
      }
      quotients.push((await lossAt(SCALES, 0.3 + e) - await lossAt(SCALES, 0.3 - e)) / (2 * e));
      assertWithin("gradients", gradients, quotients, quotients.map((q) => 1e-6 * Math.max(1, Math.abs(q))));
    });

    Deno.test(`${name} of a ${family}: without coefficient and adapters it is the plain model, to the bit`, async () => {
      using model = openCheckpoint(dir, referenceKernels());
      const small = Object.fromEntries(COUPLINGS[name].small.map((coefficient) => [coefficient, 0]));
      const own = coupling(name, { ...small, streams: { kind: "f32" } });
      const plain = await forwardLogits(model, batch, {});
      assertSame((await forwardLogits(model, batch, { coupling: own })).data, plain.data);
    });
  }
}

Deno.test("layers below the coupled ones run plain and without hooks", async () => {
  const { dir, batch } = modelFixture("qwen2_tied");
  using model = openCheckpoint(dir, referenceKernels());
  for (const name of NAMES) {
    const own = coupling(name, { lowest: 1 });
    const wanted = await pass(model, batch, own, { activations: "store" });
    assert.deepEqual(await pass(model, batch, own, { activations: "reversible" }), wanted);
    const { hooks } = probes(own.of, SCALES);
    const seen = new Set<number>();
    const watched = [...hooks.branch ?? []].map(([kind, all]) =>
      [
        kind,
        all.map((hook): BranchHook => ({
          ...hook,
          forward: (layer, ...rest) => (seen.add(layer), hook.forward(layer, ...rest)),
        })),
      ] as const
    );
    await evaluateLoss(model, batch, { ...hooks, branch: new Map(watched), coupling: own });
    assert.equal(seen.has(0), false);
    assert.equal(seen.has(1), true);
  }
});

Deno.test("a value without room in its stream is an error that names layer, value and remedy", async () => {
  const { dir, batch } = modelFixture("qwen2_tied");
  using model = openCheckpoint(dir, referenceKernels());
  const own = coupling("meft1", { streams: { kind: "exact", fraction: 30 } });
  const { hooks, places } = probes(own.of, { ...SCALES, ffn: 40 });
  const run = lossAndGradients(model, batch, { ...hooks, coupling: own }, {
    activations: "reversible",
    lossScale: 1,
  });
  await assert.rejects(run, (error: Error) => {
    assert.ok(error instanceof StreamOverflowError);
    assert.match(
      error.message,
      /^Layer 0 reaches [0-9.]+, and int32 with 30 fractional bits holds less than 2; nothing was changed: go on with --resume --fraction-bits \d+ or fewer, begin again with that, or with --streams f32$/,
    );
    return true;
  });
  assert.deepEqual(Object.values(places).map(({ dscale }) => dscale), [0, 0], "backward did not begin");
});

Deno.test("a plain layer cannot be undone", async () => {
  const { dir, batch } = modelFixture("qwen2_tied");
  using model = openCheckpoint(dir, referenceKernels());
  const { hooks } = probes(COUPLINGS.meft1, SCALES);
  const run = lossAndGradients(model, batch, hooks, { activations: "reversible", lossScale: 1 });
  await assert.rejects(run, /without an inverse/);
});

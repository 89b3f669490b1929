// SPDX-License-Identifier: Apache-2.0
/** A step that fails somewhere leaves no trace: taken again, it ends in the bits of a run in which nothing failed. */
import assert from "node:assert/strict";
import { trainingSteps } from "../../../lib/data/batches.ts";
import type { Kernels } from "../../../lib/ops/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { adamw } from "../../../lib/optim/registry.ts";
import { batchOptions } from "../../../lib/train/batches.ts";
import type { PlacementChoice } from "../../../lib/train/placement.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { assertSameBits } from "../../compare.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "./small_run.ts";

/** What a step calls that is not the model's: its choice of neurons, and all that carries rows and their gradients. */
const CALLS = ["sparseBranchForward", "rowsGather", "rowsAdd", "sparseTouch", "pairsGather"] as const;
type Call = typeof CALLS[number];

/** The same kernels, of which one call fails; counts what is called. */
interface Failing {
  readonly kernels: Kernels;
  readonly counts: Record<Call, number>;
  /** The call that fails, and which one from now on, from 0. */
  next: { call: Call; number: number } | null;
}

function failingKernels(): Failing {
  const failing: { -readonly [Name in keyof Failing]: Failing[Name] } = {
    kernels: referenceKernels(),
    counts: Object.fromEntries(CALLS.map((call) => [call, 0])) as Record<Call, number>,
    next: null,
  };
  const over = (k: Kernels): Kernels => {
    const watched = Object.fromEntries(CALLS.map((call) => {
      const run = k[call] as (...args: unknown[]) => unknown;
      return [call, (...args: unknown[]) => {
        failing.counts[call]++;
        if (failing.next?.call === call && failing.next.number-- === 0) throw new Error("it fell over");
        return run(...args);
      }];
    })) as Pick<Kernels, Call>;
    let twin: Kernels | null = null;
    return { ...k, ...watched, twin: () => twin ??= over(k.twin()) };
  };
  failing.kernels = over(failing.kernels);
  return failing;
}

/** Three steps, of which the second fails first at each of these calls; the last with `again` true. */
async function threeSteps(way: PlacementChoice, fails: readonly (readonly [Call, number])[]) {
  const failing = failingKernels();
  using model = smallModel(failing.kernels);
  const run = plan(model, smallOptions({ ...way, optimizer: adamw({ lr: 0.02 }) }));
  const data = trainingSteps(smallData(), batchOptions(run));
  let state = init(run);
  let ofSecond: Record<Call, number> | null = null;
  for (let step = 1; step <= 3; step++) {
    const { value } = data.next();
    if (step === 2) {
      for (const [call, number] of fails) {
        failing.next = { call, number };
        await assert.rejects(trainStep(run, state, value), /^Error: it fell over$/, `${call} ${number}`);
        assert.equal(state.lease.spent, false);
        assert.equal(failing.kernels.hostJobs.pending, 0);
      }
      failing.next = null;
    }
    const before = { ...failing.counts };
    [state] = await trainStep(run, state, value);
    if (step === 2) {
      ofSecond = Object.fromEntries(
        CALLS.map((call) => [call, failing.counts[call] - before[call]]),
      ) as typeof before;
    }
  }
  const moments = [...state.optim.moments].flatMap(([name, { m, v, lastStep }]) =>
    [m, v, lastStep ?? []].map((numbers, i) => [`${name} ${i}`, numbers] as const)
  );
  return { counts: ofSecond!, bytes: [...parameterBytes(state.params.parameters), ...moments] };
}

for (
  const way of [
    { placement: "host" },
    { placement: "host", halves: 2 },
    { placement: "device", cachedRows: 48 },
    { placement: "device", cachedRows: 4 },
    { placement: "device", cachedRows: 4, halves: 2 },
  ] as const
) {
  Deno.test(`a step that failed anywhere and is taken again has the bits of one that did not: ${JSON.stringify(way)}`, async () => {
    const whole = await threeSteps(way, []);
    const fails = CALLS.flatMap((call) => {
      const count = whole.counts[call];
      const firstAndLast = count === 0 ? [] : [0, count - 1];
      return firstAndLast.map((number) => [call, number] as const);
    });
    // On a device each failure leaves something else in the slots; the one before the good step counts.
    const onDevice = way.placement === "device";
    assert.equal(fails.length, onDevice ? 10 : 2);
    for (const at of onDevice ? fails.map((fail) => [fail]) : [fails]) {
      const { bytes } = await threeSteps(way, at);
      for (const [i, [name, expected]] of whole.bytes.entries()) {
        assertSameBits(`${name} after ${at}`, bytes[i]![1], expected);
      }
    }
  });
}

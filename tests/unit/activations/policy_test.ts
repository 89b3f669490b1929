// SPDX-License-Identifier: Apache-2.0
/** Passes over a stack of steps: the same gradients by every policy, in the order promised, with everything given back. */
import assert from "node:assert/strict";
import {
  forwardOnly,
  type IdleMemory,
  type Pass,
  releasing,
  splitFrozen,
  type Step,
  type Streams,
} from "../../../lib/activations/policy.ts";
import {
  ACTIVATION_POLICIES,
  type ActivationPolicyName,
  leanerActivations,
  possibleActivations,
} from "../../../lib/activations/registry.ts";
import { arenaTensor } from "../../../lib/ops/arena_tensor.ts";
import type { Kernels } from "../../../lib/ops/kernels/kernels.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import type { Tensor } from "../../../lib/tensor/tensor.ts";

const SHAPE = [3, 5];
const COUNT = 15;
const NAMES = possibleActivations(false);

interface Kept {
  readonly input: Tensor;
  /** In the host arena: kept by every policy. */
  readonly host: Float64Array;
}

/** y = x^2 + i + 1, so that dx = 2 x dy; keeps its input in the arena. Logs what is called. */
function square(
  k: Kernels,
  i: number,
  log: string[],
  needsBackward = true,
  fails: string | null = null,
): Step<Kept> {
  return {
    needsBackward,
    forward([x], [y], first) {
      log.push(`forward ${i}${first ? " again" : ""}`);
      if (fails === `forward ${i}`) throw new Error("it fell over");
      const input = arenaTensor(k, SHAPE);
      input.data.set(x!.data);
      const host = first?.host ?? k.hostFloats(4) as Float64Array;
      if (first === undefined) host.fill(i);
      y!.data.fill(NaN); // what is written is not what is read
      y!.data.forEach((_, j) => y!.data[j] = (x!.data[j] as number) ** 2 + i + 1);
      return Promise.resolve({ input, host });
    },
    backward({ input, host }, [dx]) {
      log.push(`backward ${i}`);
      if (fails === `backward ${i}`) throw new Error("it fell over");
      assert.deepEqual([...host], [i, i, i, i]);
      dx!.data.forEach((dy, j) => dx!.data[j] = 2 * (input.data[j] as number) * dy);
      return Promise.resolve();
    },
  };
}

interface Choices {
  readonly isTurnLight?: boolean;
  readonly frozen?: number;
  readonly fails?: string;
  readonly idle?: IdleMemory;
}

/** A pass of four steps over small numbers, dy = 1. */
async function pass(name: ActivationPolicyName, { frozen = 0, fails, idle, isTurnLight }: Choices = {}) {
  const k = referenceKernels();
  const log: string[] = [];
  const steps = [0, 1, 2, 3].map((i) => square(k, i, log, i >= frozen, fails ?? null));
  const x: Tensor = { shape: SHAPE, data: Float64Array.from({ length: COUNT }, (_, i) => i / 100) };
  const dx: Tensor = { shape: SHAPE, data: new Float64Array(COUNT) };
  const before = k.arena.usedBytes;
  let y: number[] = [];
  k.arena.takePeak();
  const turn = ([out]: Streams) => {
    log.push("turn");
    if (fails === "turn") throw new Error("it fell over");
    y = [...out!.data];
    dx.data.fill(1);
  };
  const given = { steps, x: [x], dx: [dx], turn, idle, isTurnLight };
  const running = ACTIVATION_POLICIES[name].run(k, given);
  const error = await running.then(() => null, (e: Error) => e);
  assert.deepEqual([k.arena.usedBytes, k.hostArena.usedBytes], [before, 0], "all is given back");
  return { log, y, dx: [...dx.data], peak: k.arena.takePeak(), error, x: [...x.data], k };
}

/** The same by the chain rule. */
function expected(x: readonly number[], frozen: number) {
  const values = x.map((first) => {
    let [value, slope] = [first, 1];
    for (let i = 0; i < 4; i++) {
      if (i >= frozen) slope *= 2 * value;
      value = value ** 2 + i + 1;
    }
    return { value, slope };
  });
  return { y: values.map(({ value }) => value), dx: values.map(({ slope }) => slope) };
}

for (const name of NAMES) {
  for (const frozen of [0, 1, 3, 4]) {
    Deno.test(`${name} gives the gradient of a stack whose first ${frozen} steps are frozen, in order`, async () => {
      const { log, y, dx, x, error } = await pass(name, { frozen });
      assert.equal(error, null);
      const right = expected(x, frozen);
      assert.deepEqual(y, right.y);
      right.dx.forEach((slope, i) =>
        assert.ok(Math.abs((dx[i] as number) - slope) <= 1e-9 * Math.abs(slope), `${i}`)
      );
      const forward = [0, 1, 2, 3].map((i) => `forward ${i}`);
      const trained = [3, 2, 1, 0].filter((i) => i >= frozen);
      const backward = trained.flatMap((i) =>
        name === "recompute" ? [`forward ${i} again`, `backward ${i}`] : [`backward ${i}`]
      );
      assert.deepEqual(log, [...forward, "turn", ...backward]);
    });
  }

  Deno.test(`${name} gives everything back when a step or the turn fails, and waits for copies under way`, async () => {
    for (const fails of ["forward 0", "forward 2", "turn", "backward 3", "backward 1"]) {
      const { error } = await pass(name, { fails });
      assert.equal(error?.message, "it fell over", fails);
    }
    const k = referenceKernels();
    let isReset = false;
    const link = { ...k.link, reset: () => void (isReset = true) };
    const failing = releasing({ ...k, link }, () => {
      arenaTensor(k, SHAPE);
      k.hostFloats(3);
      return Promise.reject(new Error("it fell over"));
    });
    await assert.rejects(failing, /it fell over/);
    assert.ok(isReset);
    assert.deepEqual([k.arena.usedBytes, k.hostArena.usedBytes], [0, 0]);
    const broken = { ...k.link, reset: () => Promise.reject(new Error("the device is gone")) };
    await assert.rejects(
      releasing({ ...k, link: broken }, () => Promise.reject(new Error("first"))),
      /first/,
    );
  });

  Deno.test(`${name} puts what is above a step into its idle memory, and gives that back before the step's backward`, async () => {
    const log: string[] = [];
    const memory = [0, 1, 2, 3].map(() => new Float64Array(4096));
    const idle: IdleMemory = {
      untilBackward: (step) => memory.slice(step, step + 1),
      beforeBackward(step) {
        log.push(`before ${step}`);
        memory[step]?.fill(NaN); // its owner's again, with any contents
      },
    };
    for (const frozen of [0, 2]) {
      log.length = 0;
      memory.forEach((lent) => lent.fill(0));
      const plain = await pass(name, { frozen });
      const lent = await pass(name, { frozen, idle });
      assert.deepEqual([lent.y, lent.dx], [plain.y, plain.dx]);
      assert.deepEqual(log, [3, 2, 1, 0].filter((i) => i >= frozen).map((i) => `before ${i}`));
      assert.ok(lent.peak < plain.peak, `${lent.peak} of ${plain.peak} bytes of its own`);
    }
  });
}

Deno.test("recompute does not run the last step again where nothing large comes between", async () => {
  for (const frozen of [0, 3, 4]) {
    const { log, dx, error } = await pass("recompute", { frozen, isTurnLight: true });
    assert.equal(error, null);
    assert.deepEqual(dx, (await pass("recompute", { frozen })).dx);
    const again = [2, 1, 0].filter((i) => i >= frozen).map((i) => `forward ${i} again`);
    assert.deepEqual(log.filter((line) => line.endsWith("again")), again);
  }
});

/** How each of so many steps was kept that are undone. */
async function keepings(count: number, choice: Partial<Pass<null>>): Promise<string[]> {
  const kept: string[] = [];
  const step: Step<null> = {
    needsBackward: true,
    forward: () => Promise.resolve(null),
    backward: () => Promise.resolve(),
    undo: {
      keep(_x, keeping) {
        kept.push(keeping.needsInput ? keeping.how : `${keeping.how}, lowest`);
        return { ...keeping, streams: [], larger: null };
      },
      backward: () => Promise.resolve(),
    },
  };
  const pass = { steps: Array<Step<null>>(count).fill(step), x: [], dx: [], turn() {}, ...choice };
  await ACTIVATION_POLICIES.reversible.run(referenceKernels(), pass);
  return kept;
}

Deno.test("reversible keeps as many anchors at any depth, spread evenly, or those that are asked for", async () => {
  for (const count of [1, 5, 6, 7, 12, 24, 60]) {
    const kept = await keepings(count, {});
    assert.equal(kept.length, count);
    const places = kept.flatMap((how, i) => how.startsWith("anchor") ? [i] : []);
    assert.equal(places.length, Math.min(6, count), `${count}`);
    const gaps = places.map((place, i) => place - (places[i - 1] ?? -1));
    assert.ok(Math.max(...gaps) - Math.min(...gaps) <= 1, `${gaps}`);
  }
  const every = (anchorEvery: number) => ({ undoing: { anchorEvery } });
  assert.deepEqual(await keepings(4, every(2)), ["least, lowest", "anchor", "least", "anchor"]);
  assert.deepEqual(await keepings(2, every(1)), ["anchor, lowest", "anchor"]);
  assert.deepEqual(await keepings(2, every(3)), ["least, lowest", "least"]);
});

Deno.test("reversible keeps the last step whole where nothing large comes between and nothing is stored above", async () => {
  const [isTurnLight, anchorEvery] = [true, 9];
  assert.deepEqual(await keepings(3, { isTurnLight, undoing: { anchorEvery } }), [
    "least, lowest",
    "least",
    "whole",
  ]);
  const stored = { isTurnLight, undoing: { anchorEvery, steps: 2 } };
  assert.deepEqual(await keepings(3, stored), ["least, lowest", "least"]);
});

Deno.test("recompute keeps less in the arena than store", async () => {
  const [store, recompute] = [await pass("store"), await pass("recompute")];
  assert.ok(recompute.peak < store.peak, `${recompute.peak} and ${store.peak} bytes`);
});

Deno.test("forwardOnly() needs two outputs for any number of steps, and none for none", async () => {
  const outputs: number[] = [];
  for (const count of [2, 3, 9]) {
    const k = referenceKernels();
    const x: Tensor = { shape: SHAPE, data: new Float64Array(COUNT).fill(0.1) };
    const steps = Array.from({ length: count }, (_, i) => square(k, i, []));
    let value = 0.1;
    for (let i = 0; i < count; i++) value = value ** 2 + i + 1;
    const [y] = await forwardOnly(k, steps, [x]);
    assert.deepEqual([...y!.data], Array(COUNT).fill(value));
    outputs.push(k.arena.usedBytes);
    assert.equal(k.hostArena.usedBytes, 0);
    assert.equal((await forwardOnly(k, [], [x]))[0], x);
  }
  assert.equal(new Set(outputs).size, 1);
});

Deno.test("splitFrozen() is where backward begins to have something to do", () => {
  const k = referenceKernels();
  const steps = [false, false, true, true].map((needs, i) => square(k, i, [], needs));
  const { frozen, trained } = splitFrozen(steps);
  assert.deepEqual([frozen, trained], [steps.slice(0, 2), steps.slice(2)]);
  assert.deepEqual(splitFrozen(steps.slice(0, 2)), { frozen: steps.slice(0, 2), trained: [] });
  assert.deepEqual(splitFrozen(steps.slice(2)), { frozen: [], trained: steps.slice(2) });
});

Deno.test("policies say of themselves whether steps run again, and which keep less", () => {
  const reruns = Object.entries(ACTIVATION_POLICIES).map(([name, policy]) => [name, policy.reruns]);
  assert.deepEqual(Object.fromEntries(reruns), { store: false, recompute: true, reversible: true });
  assert.deepEqual(possibleActivations(false), ["store", "recompute"]);
  assert.deepEqual(possibleActivations(true), ["store", "recompute", "reversible"]);
  assert.deepEqual(leanerActivations("store", false), ["recompute"]);
  assert.deepEqual(leanerActivations("recompute", false), []);
  assert.deepEqual(leanerActivations("recompute", true), ["reversible"]);
});

// SPDX-License-Identifier: Apache-2.0
/**
 * AdamW by rows on every backend: rows of mode lazy-exact have the bits of dense ones once they have caught up, whichever
 * steps they missed, and rows of mode lazy decay in closed form.
 */
import assert from "node:assert/strict";
import { nextUniform, randomStream } from "../../lib/core/rng.ts";
import type { AdamwStep } from "../../lib/ops/kernels/model.ts";
import type { Floats } from "../../lib/tensor/tensor.ts";
import { assertSame, assertSameBits, assertWithin, EPS_F32 } from "../compare.ts";
import { assertSameRows, type Hyper, hyper, Rows } from "./adamw_rows.ts";
import { onEveryBackend } from "./agreement.ts";
import { backends, deviceRowBackends } from "./backends.ts";
import type { Outputs } from "./kernel_case.ts";
import type { Stage } from "./stage.ts";

/** Nothing here is a product: one type of these is enough. */
const BACKENDS = [...backends(), ...deviceRowBackends()].filter(({ compute }) => compute === "f32");

Deno.test("adamwRows() in dense mode has adamwDense()'s bits, whichever rows have a gradient", async () => {
  const rows = 9, cols = 37, steps = 6;
  for (const weightDecay of [0, 0.1]) {
    await onEveryBackend(
      async (stage) => {
        const lrHistory = stage.hostValues(Array.from({ length: steps }, (_, i) => 0.01 * (i + 1)));
        const initial = stage.hostNormal("w", rows * cols, 0.02);
        const state = new Rows(stage, initial, rows, cols);
        const [w, m, v] = [initial, new Float32Array(rows * cols), new Float32Array(rows * cols)].map((x) =>
          stage.hostValues(x)
        ) as [Floats, Floats, Floats];
        for (let step = 1; step <= steps; step++) {
          const touched = [7, 2, step % 2]; // rows 3..6 and 8 never
          const grad = stage.hostNormal(`grad ${step}`, touched.length * cols);
          const whole = stage.hostOutput(rows * cols).fill(0);
          touched.forEach((row, i) => whole.set(grad.subarray(i * cols, (i + 1) * cols), row * cols));
          const taken = { ...hyper({ step, weightDecay, gradScale: 0.75 }), lrHistory };
          await state.step("dense", touched, grad, taken);
          stage.k.adamwDense(w, m, v, whole, taken);
        }
        assertSame([state.weights(), state.moments.m, state.moments.v], [w, m, v]);
        assert.equal(state.moments.lastStep[7], steps);
        return { w, m, v };
      },
      undefined,
      BACKENDS,
    );
  }
});

/** Warm-up, a step without any rate, a sudden rise, then decay to zero. */
function rates(steps: number): Float32Array {
  return Float32Array.from({ length: steps }, (_, i) => {
    if (i === 5) return 0;
    if (i < 20) return 1e-3 * (i / 20);
    return (i === steps >> 1 ? 30 : 1) * 1e-3 * (1 - i / steps);
  });
}

const BLOCK_ROWS = 3, RACERS = 4 * BLOCK_ROWS, COLS = 37;

/** Which rows a step of the race gives gradients, and the gradients. */
interface RaceStep {
  readonly touched: readonly number[];
  readonly grad: Floats;
  /** Blocks that catch up after it. */
  readonly blocks: readonly number[];
}

/** Block 0 often has gradients, block 1 rarely, block 2 only at first, block 3 never. */
function raceStep(stage: Stage, random: ReturnType<typeof randomStream>, step: number): RaceStep {
  const chances = [0.5, 0.01, step < 6 ? 0.5 : 0, 0];
  const touched = Array.from({ length: RACERS }, (_, row) => row)
    .filter((row) => nextUniform(random) < (chances[Math.floor(row / BLOCK_ROWS)] as number)).reverse();
  const std = nextUniform(random) < 0.2 ? 1e-12 : 1;
  const grad = stage.hostNormal(`grad ${step}`, touched.length * COLS, std);
  return {
    touched,
    grad,
    blocks: step % 7 === 0 ? [0, 1, 2, 3].filter(() => nextUniform(random) < 0.6) : [],
  };
}

/** The same gradients for a dense and a lazy-exact copy. Returns how often a mark of final weights was seen. */
async function race(stage: Stage, steps: number, options: Partial<Hyper>): Promise<Outputs> {
  const random = randomStream(5, steps), lrHistory = stage.hostValues(rates(steps));
  const initial = stage.hostNormal("w", RACERS * COLS, 0.02);
  initial.set([0, -0, 1e-40, -1e-40, 1e-30, 3], 6 * COLS + 1);
  const [dense, lazy] = [new Rows(stage, initial, RACERS, COLS), new Rows(stage, initial, RACERS, COLS)];
  const at = (step: number): AdamwStep => ({ ...hyper({ ...options, step }), lrHistory });
  let marks = 0;
  for (let step = 1; step <= steps; step++) {
    const { touched, grad, blocks } = raceStep(stage, random, step);
    await dense.step("dense", touched, grad, at(step));
    await lazy.step("lazy-exact", touched, grad, at(step));
    if (blocks.length > 0) {
      await lazy.catchUp(blocks, BLOCK_ROWS, false, at(step));
      const [a, e] = [lazy.weights(), dense.weights()];
      for (const block of blocks) {
        const range = [block * BLOCK_ROWS * COLS, (block + 1) * BLOCK_ROWS * COLS] as const;
        assertSameBits(`w of block ${block} at step ${step}`, a.subarray(...range), e.subarray(...range));
      }
    }
    marks += lazy.moments.lastStep.filter((last) => last < 0).length;
  }
  await lazy.catchUp([0, 1, 2, 3], BLOCK_ROWS, true, at(steps));
  assertSameRows("after the flush", lazy, dense);
  assert.ok(lazy.moments.lastStep.every((last) => last >= 0), "a flush leaves no mark");
  return { ...lazy.all(), marks: Int32Array.of(marks) };
}

Deno.test("adamwRows() in lazy-exact mode has dense bits after catching up, and marks rows whose weights are final", () =>
  onEveryBackend(
    (stage) => race(stage, 400, {}),
    ({ marks }) => assert.ok((marks![0] as number) > 100, `${marks![0]} marks`),
    BACKENDS,
  ));

Deno.test("adamwRows() in lazy-exact mode has dense bits with weight decay and with unusual betas", async () => {
  const marksOf = async (options: Partial<Hyper>): Promise<Set<number>> => {
    const seen = new Set<number>();
    await onEveryBackend(
      (stage) => race(stage, 120, options),
      ({ marks }) => void seen.add(marks![0] as number),
      BACKENDS,
    );
    return seen;
  };
  assert.deepEqual(await marksOf({ weightDecay: 0.1 }), new Set([0]), "decay moves weights for ever");
  // m shrinks slower than sqrt(v): no bound on future updates, so no marks until m is 0.
  const slow = { beta1: Math.fround(0.99), beta2: Math.fround(0.9) };
  assert.deepEqual(await marksOf(slow), new Set([0]));
  await marksOf({ beta1: 0 });
  await marksOf({ eps: 1e-30 });
});

Deno.test("adamwRowsCatchUp() undoes no work when the learning rate rises after weights were marked final", () => {
  const cols = 19, steps = 200;
  // Tiny rates at first: the weights are soon final for such rates, but not for those that follow.
  const rising = Float32Array.from({ length: steps }, (_, i) => i < 60 ? 1e-9 : i < 100 ? 0 : 1e3);
  return onEveryBackend(
    async (stage) => {
      const [initial, grad] = [stage.hostNormal("w", cols), stage.hostNormal("grad", cols)];
      const [dense, lazy] = [new Rows(stage, initial, 1, cols), new Rows(stage, initial, 1, cols)];
      const lrHistory = stage.hostValues([...rising, 0.1]);
      let marked = 0;
      for (let step = 1; step <= steps; step++) {
        const [touched, taken] = [step === 1 ? [0] : [], { ...hyper({ step }), lrHistory }];
        await dense.step("dense", touched, grad, taken);
        if (step === 1) await lazy.step("lazy-exact", touched, grad, taken);
        if (step % 50 !== 0) continue;
        await lazy.catchUp([0], 1, false, taken);
        assertSameBits(`w at step ${step}`, lazy.weights(), dense.weights());
        if (step <= 100 && (lazy.moments.lastStep[0] as number) < 0) marked++;
      }
      assert.equal(marked, 2, "was marked before the rise");
      assert.ok(lazy.weights().some((w, i) => w !== initial[i]));
      // A later gradient finds the moments where dense has them.
      const late = { ...hyper({ step: steps + 1 }), lrHistory };
      await dense.step("dense", [0], grad, late);
      await lazy.step("lazy-exact", [0], grad, late);
      assertSameRows("after a late gradient", lazy, dense);
      return lazy.all();
    },
    undefined,
    BACKENDS,
  );
});

/**
 * A gradient, and one that takes nearly all of its momentum back: the update is next to nothing, the second moment is not.
 * Where momentum outlives the second moment, updates then grow while nothing happens.
 */
async function stillRow(stage: Stage, betas: Pick<Hyper, "beta1" | "beta2">): Promise<Outputs> {
  const cols = 19, steps = 120, weights = new Float32Array(cols).fill(8);
  const lrHistory = stage.hostValues(new Float32Array(steps).fill(1e-4));
  const [dense, lazy] = [new Rows(stage, weights, 1, cols), new Rows(stage, weights, 1, cols)];
  let [marked, still] = [false, weights as Floats];
  for (let step = 1; step <= steps; step++) {
    const back = Math.fround(-betas.beta1 * (1 - 2 ** -20));
    const [grad, taken] = [stage.hostOutput(cols).fill(step === 1 ? 1 : back), {
      ...hyper({ ...betas, step }),
      lrHistory,
    }];
    const touched = step <= 2 ? [0] : [];
    await dense.step("dense", touched, grad, taken);
    if (step <= 2) await lazy.step("lazy-exact", touched, grad, taken);
    if (step === 2 || step === 10 || step === steps) {
      await lazy.catchUp([0], 1, step === steps, taken);
      assertSameBits(`weights after step ${step}`, lazy.weights(), dense.weights());
      marked ||= (lazy.moments.lastStep[0] as number) < 0;
    }
    if (step === 2) still = dense.weights();
  }
  assertSameRows("at the end", lazy, dense);
  const moved = dense.weights().some((w, i) => w !== still[i]);
  return { seen: Int32Array.of(Number(marked), Number(moved)) };
}

Deno.test("a row of mode lazy-exact is final only where updates cannot grow: beta1 above, at and below the root of beta2", async () => {
  /** @param moved Null where either will do */
  const rows = (beta1: number, beta2: number, marked: boolean, moved: boolean | null) =>
    onEveryBackend((stage) => stillRow(stage, { beta1, beta2 }), ({ seen }) => {
      const label = `beta1 ${beta1}, beta2 ${beta2}`;
      assert.equal(seen![0], Number(marked), `${label}: marked`);
      if (moved !== null) assert.equal(seen![1], Number(moved), `${label}: moved`);
    }, BACKENDS);
  await rows(0.9, 0.999, true, false);
  await rows(0.99, 0.5, false, true); // far above
  await rows(0.9, 0.8, false, null); // a little above
  await rows(0.5, 0.25, false, null); // at the root, within rounding
  await rows(0.5, 0.26, true, null); // a little below
});

Deno.test("adamwRows() in lazy mode decays what was missed in closed form and lets nothing drift", () => {
  const cols = 37, missed = 4, step = 10, lr = 0.01, decay = 0.1;
  return onEveryBackend(
    async (stage) => {
      const [initial, grad] = [stage.hostNormal("w", 2 * cols), stage.hostNormal("grad", cols)];
      const [m, v] = [
        stage.hostNormal("m", 2 * cols, 0.1),
        stage.hostNormal("v", 2 * cols).map((x) => x * x),
      ];
      const state = new Rows(stage, initial, 2, cols);
      state.moments.m.set(m);
      state.moments.v.set(v);
      state.moments.lastStep.fill(step - 1 - missed);
      const taken = hyper({ step, weightDecay: decay });
      const lrHistory = stage.hostValues(new Float32Array(step).fill(lr));
      await state.step("lazy", [1], grad, { ...taken, lrHistory });
      const w = Array.from(grad, (g, i) => {
        const [wi, mi, vi] = [initial, m, v].map((x) => x[cols + i] as number) as [number, number, number];
        const m1 = taken.beta1 ** (missed + 1) * mi + (1 - taken.beta1) * g;
        const v1 = taken.beta2 ** (missed + 1) * vi + (1 - taken.beta2) * g * g;
        const root = Math.sqrt(v1) / Math.sqrt(1 - taken.beta2 ** step) + taken.eps;
        return wi * (1 - lr * decay) ** (missed + 1) - lr / (1 - taken.beta1 ** step) * m1 / root;
      });
      const after = state.weights();
      const moved = Float64Array.from(w, (x, i) => Math.abs(x - (initial[cols + i] as number)));
      const bound = (i: number) =>
        8 * EPS_F32 * (Math.abs(initial[cols + i] as number) + (moved[i] as number) + lr);
      assertWithin("w", after.subarray(cols), w, bound);
      assertSameBits("row 0, which is not touched", after.subarray(0, cols), initial.subarray(0, cols));
      assert.deepEqual([...state.moments.lastStep], [step - 1 - missed, step]);
      return state.all();
    },
    undefined,
    BACKENDS,
  );
});

Deno.test("a NaN gradient reaches weights and moments", () =>
  onEveryBackend(async (stage) => {
    const state = new Rows(stage, stage.hostNormal("w", 5), 1, 5);
    const grad = stage.hostNormal("grad", 5);
    grad[3] = NaN;
    await state.step("lazy-exact", [0], grad, { ...hyper({ step: 1 }), lrHistory: stage.hostValues([0.1]) });
    return state.all();
  }, ({ w, m, v }) => {
    for (const array of [w, m, v]) {
      assert.deepEqual([...array!].map(Number.isNaN), [false, false, false, true, false]);
    }
  }, BACKENDS));

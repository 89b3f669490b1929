// SPDX-License-Identifier: Apache-2.0
/** meft_adamw_*: the formula against f64, and lazy-exact rows against dense ones, bit for bit. */
import assert from "node:assert/strict";
import { assertSame, assertWithin } from "../compare.ts";
import { nextUniform, randomStream } from "../../lib/core/rng.ts";
import { adamwDense } from "../../lib/native/calls.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { writeAdamwParams } from "../../lib/native/structs.ts";
import {
  assertSameRows,
  DENSE,
  type Hyper,
  hyper,
  LAZY,
  LAZY_EXACT,
  oracleStep,
  RowState,
} from "./adamw_check.ts";
import { F32_EPS, machineTargets, misaligned, normals, onEveryTarget } from "./kernel_check.ts";

function onTargets(check: (lane: NativeContext, threads: number) => void, threadCounts = [2]): void {
  for (const target of machineTargets()) {
    for (const threads of threadCounts) {
      using lane = new NativeContext({ target, threads });
      check(lane, threads);
      assert.equal(lane.info().ranTarget, target);
    }
  }
}

Deno.test("adamwDense() is the formula in f64 within a few roundings, at odd sizes, early and late", () => {
  const sizes = [0, 1, 3, 15, 16, 17, 40_001];
  const cases = [hyper({}), hyper({ step: 7, weightDecay: 0.25 }), hyper({ step: 3000, gradScale: 0.5 })];
  for (const p of cases) {
    const lr = new Float32Array(p.step).fill(0.01);
    for (const count of sizes) {
      const w = normals(count, 1), m = normals(count, 2, 0.1), grad = normals(count, 3);
      const v = misaligned(normals(count, 4).map((x) => x * x));
      onEveryTarget((lane) => {
        const out = { w: misaligned(w), m: misaligned(m), v: misaligned(v) };
        adamwDense(lane, out.w, out.m, out.v, grad, lr, count, writeAdamwParams(p));
        return out;
      }, (out) => {
        const at = (i: number) => {
          const [w0, m0, v0, g0] = [w, m, v, grad].map((array) => array[i] as number);
          return oracleStep(w0 as number, m0 as number, v0 as number, g0 as number, lr[0] as number, p);
        };
        const steps = Array.from({ length: count }, (_, i) => at(i));
        // Cancelling terms of m round relative to their size, and w inherits that.
        const mSize = (i: number) => Math.abs(m[i] as number) + 0.1 * Math.abs(grad[i] as number);
        assertWithin("m", out.m, steps.map((s) => s.m), (i) => 4 * F32_EPS * mSize(i));
        assertWithin("v", out.v, steps.map((s) => s.v), (i) => 4 * F32_EPS * (steps[i]?.v as number));
        assertWithin("w", out.w, steps.map((s) => s.w), (i) => {
          const { update, m: m1 } = steps[i] as ReturnType<typeof oracleStep>;
          return F32_EPS * (4 * Math.abs(w[i] as number) + 12 * Math.abs(update / m1) * mSize(i));
        });
      });
    }
  }
});

Deno.test("adamwRows() in dense mode has adamwDense()'s bits, whichever rows have a gradient", () => {
  const rows = 9, hidden = 37, steps = 6;
  const lr = Float32Array.from({ length: steps }, (_, i) => 0.01 * (i + 1));
  for (const weightDecay of [0, 0.1]) {
    onTargets((lane) => {
      const initial = normals(rows * hidden, 1, 0.02);
      const state = new RowState(lane, initial, rows, hidden);
      const [w, m, v] = [initial.slice(), new Float32Array(rows * hidden), new Float32Array(rows * hidden)];
      for (let step = 1; step <= steps; step++) {
        const touched = [7, 2, step % 2]; // rows 3..6 and 8 never
        const grad = normals(touched.length * hidden, 10 + step);
        const whole = new Float32Array(rows * hidden);
        touched.forEach((row, i) => whole.set(grad.subarray(i * hidden, (i + 1) * hidden), row * hidden));
        const p = hyper({ step, weightDecay, gradScale: 0.75, mode: DENSE });
        state.step(lane, touched, grad, lr, p);
        adamwDense(lane, w, m, v, whole, lr, w.length, writeAdamwParams(p));
      }
      assertSame(state.weights(lane), w);
      assertSame([state.m, state.v], [m, v]);
      assert.equal(state.lastStep[7], steps);
    });
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

/**
 * The same random gradients given to a dense and to a lazy-exact copy. Block 0 often has gradients, block 1 rarely,
 * block 2 only at first, block 3 never. Returns how often a mark of final weights was seen.
 */
function raceDenseAndLazy(lane: NativeContext, steps: number, options: Partial<Hyper>): number {
  const blockRows = 3, rows = 4 * blockRows, hidden = 37;
  const random = randomStream(5, steps);
  const lr = rates(steps);
  const initial = normals(rows * hidden, 1, 0.02);
  initial.set([0, -0, 1e-40, -1e-40, 1e-30, 3], 6 * hidden + 1);
  const dense = new RowState(lane, initial, rows, hidden), lazy = new RowState(lane, initial, rows, hidden);
  let marks = 0;
  for (let step = 1; step <= steps; step++) {
    const chances = [0.5, 0.01, step < 6 ? 0.5 : 0, 0];
    const touched = [...dense.lastStep.keys()].filter((row) =>
      nextUniform(random) < (chances[Math.floor(row / blockRows)] as number)
    ).reverse();
    const scale = nextUniform(random) < 0.2 ? 1e-12 : 1;
    const grad = normals(touched.length * hidden, 100 + step, scale);
    const p = hyper({ ...options, step });
    dense.step(lane, touched, grad, lr, { ...p, mode: DENSE });
    lazy.step(lane, touched, grad, lr, { ...p, mode: LAZY_EXACT });
    if (step % 7 === 0) {
      const blocks = [0, 1, 2, 3].filter(() => nextUniform(random) < 0.6);
      lazy.catchUp(lane, blocks, blockRows, lr, false, p);
      const current = blocks.flatMap((b) => Array.from({ length: blockRows }, (_, i) => b * blockRows + i));
      const [a, e] = [lazy.weights(lane), dense.weights(lane)];
      for (const row of current) {
        const range = [row * hidden, (row + 1) * hidden] as const;
        assertSame(a.subarray(...range), e.subarray(...range), `w of row ${row} at step ${step}`);
      }
    }
    marks += lazy.lastStep.filter((last) => last < 0).length;
  }
  lazy.catchUp(lane, [0, 1, 2, 3], blockRows, lr, true, hyper({ ...options, step: steps }));
  assertSameRows("after the flush", lane, lazy, dense, [...dense.lastStep.keys()]);
  assert.ok(lazy.lastStep.every((last) => last >= 0), "a flush leaves no mark");
  return marks;
}

Deno.test("adamwRows() in lazy-exact mode has dense bits after catching up, and marks rows whose weights are final", () => {
  onTargets((lane) => {
    const marks = raceDenseAndLazy(lane, 400, {});
    assert.ok(marks > 100, `${marks} marks`);
  }, [1, 2]);
});

Deno.test("adamwRows() in lazy-exact mode has dense bits with weight decay and with unusual betas", () => {
  onTargets((lane) => {
    assert.equal(raceDenseAndLazy(lane, 120, { weightDecay: 0.1 }), 0, "decay moves weights for ever");
    // m shrinks slower than sqrt(v): no bound on future updates, so no marks until m is 0.
    assert.equal(raceDenseAndLazy(lane, 120, { beta1: Math.fround(0.99), beta2: Math.fround(0.9) }), 0);
    raceDenseAndLazy(lane, 120, { beta1: 0 });
    raceDenseAndLazy(lane, 120, { eps: 1e-30 });
  });
});

Deno.test("adamwRowsCatchUp() undoes no work when the learning rate rises after weights were marked final", () => {
  const hidden = 19, steps = 200;
  // Tiny rates at first: the weights are soon final for such rates, but not for those that follow.
  const lr = Float32Array.from({ length: steps }, (_, i) => i < 60 ? 1e-9 : i < 100 ? 0 : 1e3);
  onTargets((lane) => {
    const initial = normals(hidden, 1), grad = normals(hidden, 2);
    const dense = new RowState(lane, initial, 1, hidden), lazy = new RowState(lane, initial, 1, hidden);
    let marked = 0;
    for (let step = 1; step <= steps; step++) {
      const touched = step === 1 ? [0] : [];
      dense.step(lane, touched, grad, lr, hyper({ step, mode: DENSE }));
      if (step === 1) lazy.step(lane, touched, grad, lr, hyper({ step, mode: LAZY_EXACT }));
      if (step % 50 !== 0) continue;
      lazy.catchUp(lane, [0], 1, lr, false, hyper({ step }));
      assertSame(lazy.weights(lane), dense.weights(lane), `step ${step}`);
      if (step <= 100 && (lazy.lastStep[0] as number) < 0) marked++;
    }
    assert.ok(marked === 2, "was marked before the rise");
    assert.notDeepEqual(lazy.weights(lane), initial);
    // A later gradient finds the moments where dense has them.
    dense.step(lane, [0], grad, Float32Array.of(...lr, 0.1), hyper({ step: steps + 1, mode: DENSE }));
    lazy.step(lane, [0], grad, Float32Array.of(...lr, 0.1), hyper({ step: steps + 1, mode: LAZY_EXACT }));
    assertSameRows("after a late gradient", lane, lazy, dense, [0]);
  });
});

Deno.test("adamwRows() in lazy mode decays what was missed in closed form and lets nothing drift", () => {
  const hidden = 37, missed = 4, step = 10;
  const lr = new Float32Array(step).fill(0.01);
  onTargets((lane) => {
    const initial = normals(2 * hidden, 1), grad = normals(hidden, 2);
    const state = new RowState(lane, initial, 2, hidden);
    const m = normals(2 * hidden, 3, 0.1), v = normals(2 * hidden, 4).map((x) => x * x);
    state.m.set(m);
    state.v.set(v);
    state.lastStep.fill(step - 1 - missed);
    const p = hyper({ step, mode: LAZY, weightDecay: 0.1 });
    state.step(lane, [1], grad, lr, p);
    const decayed = (x: number, factor: number) => x * factor ** missed;
    const expected = Array.from(grad, (g, i) =>
      oracleStep(
        decayed(initial[hidden + i] as number, 1 - 0.01 * 0.1),
        decayed(m[hidden + i] as number, p.beta1),
        decayed(v[hidden + i] as number, p.beta2),
        g,
        0.01,
        p,
      ));
    const bound = (i: number) =>
      16 * F32_EPS *
      (Math.abs(initial[hidden + i] as number) + Math.abs(expected[i]?.update as number) + 0.01);
    assertWithin("w", state.weights(lane).subarray(hidden), expected.map((s) => s.w), bound);
    assertSame(
      state.weights(lane).subarray(0, hidden),
      initial.slice(0, hidden),
      "row 0 is not touched",
    );
    assert.deepEqual([...state.lastStep], [step - 1 - missed, step]);
  });
});

Deno.test("a NaN gradient reaches weights and moments", () => {
  onTargets((lane) => {
    const state = new RowState(lane, normals(5, 1), 1, 5);
    const grad = normals(5, 2);
    grad[3] = NaN;
    state.step(lane, [0], grad, Float32Array.of(0.1), hyper({ mode: LAZY_EXACT }));
    assert.deepEqual([...state.weights(lane)].map(Number.isNaN), [false, false, false, true, false]);
    assert.ok(Number.isNaN(state.m[3]) && Number.isNaN(state.v[3]));
  });
});

Deno.test("adamwRows() names what is wrong before anything is written", () => {
  using lane = new NativeContext();
  const state = new RowState(lane, normals(12, 1), 3, 4);
  const grad = normals(8, 2), lr = Float32Array.of(0.1, 0.1);
  const step = (rows: readonly number[], p: Partial<Hyper>) => () =>
    state.step(lane, rows, grad, lr, hyper({ mode: LAZY_EXACT, ...p }));
  assert.throws(step([0, 3], {}), /rows\[1\] is 3, expected 0 to 2/);
  assert.throws(step([1, 1], {}), /row 1 is named twice/);
  assert.throws(step([1], { mode: 3 }), /mode is 3/);
  assert.throws(step([1], { step: 0 }), /step is 0/);
  assert.throws(step([1], { beta1: 1 }), /beta1 is 1/);
  assert.throws(step([1], { eps: 0 }), /eps is 0/);
  assert.throws(step([1], { weightDecay: -1 }), /weight_decay is -1/);
  assert.throws(step([1], { gradScale: Infinity }), /gradScale is Infinity|grad_scale is inf/);
  lr[1] = -1;
  assert.throws(step([1], { step: 2 }), /the learning rate of step 2 is -1/);
  assertSame(state.weights(lane), normals(12, 1).slice());
  step([1], {})();
  assert.throws(step([1], {}), /row 1 is current to step 1, so it cannot take step 1/);
  const catchUp = (blocks: readonly number[]) => () => state.catchUp(lane, blocks, 1, lr, false, hyper({}));
  assert.throws(catchUp([1, 1]), /blocks\[1\] is 1 after 1, expected increasing blocks/);
  assert.throws(catchUp([-1]), /blocks\[0\] is -1/);
});

Deno.test("adamwRows() with no rows and an empty matrix does nothing", () => {
  using lane = new NativeContext();
  const empty = new RowState(lane, new Float32Array(0), 0, 4);
  for (const mode of [DENSE, LAZY_EXACT, LAZY]) {
    empty.step(lane, [], new Float32Array(0), Float32Array.of(0.1), hyper({ mode }));
  }
  empty.catchUp(lane, [], 2, Float32Array.of(0.1), true, hyper({}));
});

// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { backwardTimes, forwardTimes, type LayerCosts } from "../../../lib/predict/lane_schedule.ts";

const LAYERS = 32;

/** Fractions of one layer's time on the model's lane: 7B's attention and feed-forward halves. */
function costs(copy: number, host: number, recompute = 0): LayerCosts {
  return { attention: 0.34, feedForward: 0.66, recompute, down: copy, host, up: copy, meeting: 0 };
}

/** Largest host time a layer, in steps of 0.01, that costs at most 5 %. */
function hidden(total: (host: number) => number): number {
  const free = total(0);
  let host = 0;
  while (host < 4 && total(host) <= 1.05 * free) host += 0.01;
  return host;
}

// Copy time each way, and what hides: forward whole and in halves, backward whole and staggered, staggered with recompute.
const TABLE = [
  [0.05, 0.61, 1.05, 0.61, 1.05, 2.1],
  [0.1, 0.51, 1.05, 0.51, 1.05, 2.1],
  [0.22, 0.28, 1.04, 0.28, 1.04, 2.1],
] as const;

for (const [copy, forwardWhole, forwardHalves, backwardWhole, staggered, recomputed] of TABLE) {
  Deno.test(`at copies of ${copy} of a layer's time, two halves hide twice to four times the host work of one`, () => {
    const near = (what: string, actual: number, expected: number, within = 0.011): void =>
      assert.ok(Math.abs(actual - expected) <= within, `${what}: ${actual}, expected ${expected}`);
    near("forward, whole", hidden((host) => forwardTimes(costs(copy, host), LAYERS, 1).total), forwardWhole);
    near(
      "forward, halves",
      hidden((host) => forwardTimes(costs(copy, host), LAYERS, 2).total),
      forwardHalves,
    );
    near(
      "backward, whole",
      hidden((host) => backwardTimes(costs(copy, host), LAYERS, 1).total),
      backwardWhole,
    );
    near(
      "backward, staggered",
      hidden((host) => backwardTimes(costs(copy, host), LAYERS, 2).total),
      staggered,
    );
    near(
      "backward, recomputed",
      hidden((host) => backwardTimes(costs(copy, host, 1), LAYERS, 2).total),
      recomputed,
      0.021,
    );
  });
}

Deno.test("a pass is never shorter than its busiest lane, and with nothing for the host it is the model's lane alone", () => {
  for (const halves of [1, 2]) {
    for (const times of [forwardTimes, backwardTimes]) {
      const alone = times(costs(0, 0), LAYERS, halves);
      assert.ok(Math.abs(alone.total - LAYERS) < 1e-9);
      const bound = times(costs(0.1, 3), LAYERS, halves);
      assert.ok(
        bound.total >= bound.host && bound.host > bound.model && bound.down > 0 && bound.up === bound.down,
      );
    }
  }
  assert.equal(forwardTimes(costs(0.1, 1), 0, 2).total, 0);
});

Deno.test("every meeting of two lanes that is not hidden costs its time", () => {
  const met = (meeting: number) => forwardTimes({ ...costs(0.1, 1), meeting }, LAYERS, 1).total;
  assert.ok(Math.abs(met(0.01) - met(0) - 0.02 * LAYERS) < 1e-9);
});

// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { AdapterParams, LayerActivity } from "../../../lib/adapters/adapter.ts";
import {
  countDeadNeurons,
  DEAD_AFTER_STEPS,
  readExpertLoad,
  watchActivity,
} from "../../../lib/train/activity.ts";

/** An adapter of two layers of four neurons and two experts that fires what it is told to. */
function fakeAdapter() {
  const layers: LayerActivity[] = [0, 1].map(() => ({
    neurons: 4,
    firedNeurons: new Int32Array(),
    expertTokens: new Float64Array(2),
  }));
  const params = { layerActivity: () => layers } as Partial<AdapterParams> as AdapterParams;
  const fire = (...fired: number[][]) =>
    fired.forEach((neurons, i) => {
      layers[i] = { ...layers[i] as LayerActivity, firedNeurons: Int32Array.from(neurons) };
    });
  return { params, fire, layers };
}

Deno.test("countDeadNeurons() counts who was silent since the watch began, later for a hundred steps", () => {
  const { params, fire } = fakeAdapter();
  const watch = watchActivity(params, 50);
  if (watch === null) throw new Error("there is no watch");
  const dead = (step: number) => countDeadNeurons(watch, params, step);
  fire([0, 1], []);
  strictEqual(dead(51), (2 + 4) / 2);
  fire([2], [3]);
  strictEqual(dead(52), (1 + 3) / 2);
  fire([], []);
  strictEqual(dead(50 + DEAD_AFTER_STEPS), (1 + 3) / 2);
  strictEqual(dead(51 + DEAD_AFTER_STEPS), (3 + 3) / 2, "neurons 0 and 1 fired a hundred steps ago");
  strictEqual(dead(52 + DEAD_AFTER_STEPS), 4);
  fire([0, 1, 2, 3], [0, 1, 2, 3]);
  strictEqual(dead(53 + DEAD_AFTER_STEPS), 0);
});

Deno.test("readExpertLoad() gives what came since the last reading", () => {
  const { params, layers } = fakeAdapter();
  layers[0]?.expertTokens.set([5, 1]);
  const watch = watchActivity(params, 0);
  if (watch === null) throw new Error("there is no watch");
  layers[0]?.expertTokens.set([7, 1]);
  layers[1]?.expertTokens.set([0, 9]);
  deepStrictEqual(readExpertLoad(watch, params), [[2, 0], [0, 9]]);
  deepStrictEqual(readExpertLoad(watch, params), [[0, 0], [0, 0]]);
});

Deno.test("watchActivity() has nothing to watch in an adapter whose neurons do not fire by choice", () => {
  strictEqual(watchActivity({} as AdapterParams, 0), null);
});

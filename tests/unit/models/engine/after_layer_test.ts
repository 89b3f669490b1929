// SPDX-License-Identifier: Apache-2.0
/** When backward says that it has left a layer: what follows may change the layer's parameters. */
import { hooksOf } from "../../../fixtures/hooks.ts";
import assert from "node:assert/strict";
import { makeMicroBatch } from "../../../../lib/data/batches.ts";
import { lossAndGradients } from "../../../../lib/models/engine/pass.ts";
import {
  interleavedLossAndGradients,
  type PartPlace,
  splitBatch,
} from "../../../../lib/models/engine/interleave.ts";
import type { BranchHook, Hooks } from "../../../../lib/models/hooks.ts";
import { smallData, threeLayers } from "../../train/small_run.ts";

const { batch } = makeMicroBatch(smallData(), Int32Array.of(0, 3, 5, 8));

/** A branch that adds nothing, late, and says when its backward has ended. */
function lateHook(delayMs: () => number, ended: (layer: number) => void): BranchHook<null> {
  const wait = () => new Promise((resolve) => setTimeout(resolve, delayMs()));
  return {
    residualsOnHost: true,
    async forward(_layer, _h, y) {
      y.data.fill(0);
      await wait();
      return null;
    },
    async backward(layer, _residuals, _h, _dy, dh) {
      dh.data.fill(0);
      await wait();
      ended(layer);
    },
  };
}

for (const halves of [1, 2] as const) {
  for (const activations of ["store", "recompute"] as const) {
    Deno.test(`afterLayer comes once a layer, from the top, when every part has left it: ${halves} halves, ${activations}`, async () => {
      using model = threeLayers();
      for (let seed = 0; seed < 4; seed++) {
        let calls = 0;
        const delayMs = () => (calls++ * 7919 + seed * 104729) % 13 % 4;
        const left: string[] = [];
        const seen: number[] = [];
        const hooks = (part: number): Hooks =>
          hooksOf({
            ffn: lateHook(delayMs, (layer) => left.push(`${layer} feed-forward ${part}`)),
            attention: lateHook(delayMs, (layer) => left.push(`${layer} attention ${part}`)),
          });
        const options = {
          activations,
          lossScale: 1,
          afterLayer: (layer: number) => {
            const parts = left.filter((name) => name.startsWith(`${layer} `));
            assert.equal(parts.length, 2 * halves, `${left}`);
            seen.push(layer);
          },
        };
        if (halves === 1) await lossAndGradients(model, batch, hooks(0), options);
        else {
          const parts = splitBatch(batch);
          assert.ok(parts);
          const attach = (_: unknown, { firstToken }: PartPlace) => ({ model, hooks: hooks(firstToken) });
          await interleavedLossAndGradients(model, batch, parts, attach, options);
        }
        assert.deepEqual(seen, [2, 1, 0]);
      }
    });
  }
}

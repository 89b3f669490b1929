// SPDX-License-Identifier: Apache-2.0
/** What an optimizer is made of: defaults, whose choice wins, what is refused, what is recorded. */
import assert from "node:assert/strict";
import { adamwOptimizer, type AdamwOptions, resolveAdamw } from "../../../lib/optim/adamw.ts";
import { adamw, resolveOptimizer } from "../../../lib/optim/registry.ts";

Deno.test("resolveAdamw() of nothing is the published optimizer, and what is undefined counts for nothing", () => {
  const published = {
    lr: 1e-4,
    schedule: { kind: "linear", warmupRatio: 0.02 },
    clip: 1,
    clipBy: "all",
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0,
    mode: "lazy-exact",
  };
  for (
    const options of [[], [{}], [
      { lr: undefined, clip: undefined, schedule: undefined } as unknown as AdamwOptions,
    ]]
  ) {
    const { config, problems } = resolveAdamw(...options);
    assert.deepEqual(problems, []);
    assert.deepEqual(config, published);
  }
  assert.deepEqual(
    resolveAdamw({ lr: 3, beta1: 0.5 }, { lr: undefined } as unknown as AdamwOptions).config.lr,
    3,
  );
});

Deno.test("resolveAdamw() takes published defaults, lets later options win, and lists every mistake", () => {
  const { config, problems } = resolveAdamw({ lr: 1e-5, clip: 0.4 }, { lr: 0.1, schedule: "cosine" });
  assert.deepEqual(problems, []);
  assert.deepEqual(config, {
    lr: 0.1,
    schedule: { kind: "cosine", warmupRatio: 0.02 },
    clip: 0.4,
    clipBy: "all",
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0,
    mode: "lazy-exact",
  });
  const wrong = {
    lr: -1,
    beta1: 1,
    beta2: NaN,
    eps: 0,
    weightDecay: Infinity,
    clip: 0,
    clipBy: "row" as "all",
  };
  assert.deepEqual(resolveAdamw(wrong, { schedule: { kind: "linear", warmupRatio: 2 } }).problems, [
    "warmupRatio is 2, expected a number from 0 to 1",
    "lr is -1, expected a number of at least 0, up to 3.4e38",
    "weightDecay is Infinity, expected a number of at least 0, up to 3.4e38",
    "beta1 is 1, expected a number from 0 to below 1",
    "beta2 is NaN, expected a number from 0 to below 1",
    "eps is 0, expected a number above 0, up to 3.4e38",
    "clip is 0, expected a number above 0, or null for no limit",
    'clipBy is "row", expected all, layer',
  ]);
  // The bounds themselves are meant.
  for (
    const options of [
      { lr: 0, beta1: 0, beta2: 0, weightDecay: 0, eps: 1e-45, clip: 1e-300 },
      { lr: 3.4e38, eps: 3.4e38, weightDecay: 3.4e38, clip: Infinity },
      { clip: null, clipBy: "layer", mode: "dense", beta1: 0.9999999, beta2: 0.9999999 },
    ] as const
  ) assert.deepEqual(resolveAdamw(options).problems, []);
  const { problems: others } = resolveAdamw({
    lr: NaN,
    clip: NaN,
    eps: -1e-8,
    weightDecay: -1e-3,
    beta1: -0.1,
    beta2: 1,
    mode: "adam" as "lazy",
  });
  assert.deepEqual(others.map((problem) => problem.split(" is ")[0]), [
    "lr",
    "weightDecay",
    "mode",
    "beta1",
    "beta2",
    "eps",
    "clip",
  ]);
  // What is misspelt is no option.
  assert.deepEqual(resolveAdamw({ weigthDecay: 1 } as AdamwOptions).problems, [
    '"weigthDecay" is no option of AdamW; did you mean "weightDecay"?',
  ]);
  // What f32, in which the kernels compute, rounds to infinity, to nothing, or to 1.
  const far = { lr: 1e39, beta1: 1 - 1e-12, beta2: 1 - 1e-9, eps: 1e-50, weightDecay: 1e308 };
  assert.equal(resolveAdamw(far).problems.length, 5);
});

Deno.test("an optimizer records all that decides its results; clipping by all is as it was before there was a choice", () => {
  const { config: all } = adamwOptimizer(resolveAdamw({ lr: 2, clip: null, schedule: "constant" }).config);
  assert.deepEqual(all, {
    lr: 2,
    schedule: { kind: "constant", warmupRatio: 0.02 },
    clip: null,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: 0,
    mode: "lazy-exact",
  });
  const optimizer = adamwOptimizer(resolveAdamw({ clipBy: "layer", clip: 0.5, mode: "lazy" }).config);
  assert.equal(optimizer.config["clipBy"], "layer");
  assert.deepEqual([optimizer.clip, optimizer.clipBy, optimizer.lr], [0.5, "layer", 1e-4]);
});

Deno.test("resolveOptimizer() lets the user's options win over the method's", () => {
  const { optimizer, problems } = resolveOptimizer(adamw({ lr: 7, eps: 0 }), { lr: 1e-5, clip: 0.25 });
  assert.deepEqual([optimizer.lr, optimizer.clip], [7, 0.25]);
  assert.deepEqual(problems, ["eps is 0, expected a number above 0, up to 3.4e38"]);
  assert.deepEqual(resolveOptimizer(adamw(), { lr: 1e-5 }).optimizer.lr, 1e-5);
});

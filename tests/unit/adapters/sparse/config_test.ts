// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { quotedValue } from "../../../../lib/core/quoted.ts";
import { nearestDivisors, nearestMultiples } from "../../../../lib/adapters/sparse/divisors.ts";
import { defaultExperts, resolveSparse, type SparseOptions } from "../../../../lib/adapters/sparse/config.ts";

const problemsOf = (options: SparseOptions): string[] => resolveSparse(options, 0.02).problems;

Deno.test("resolveSparse() without options gives the published sizes and modes", () => {
  const { settings, problems } = resolveSparse({}, 0.02);
  assert.deepEqual(problems, []);
  assert.deepEqual(settings, {
    neurons: 4096,
    experts: 256,
    activeExperts: 8,
    topK: 64,
    gate: "raw",
    scope: "token",
    keys: "trained",
    routerInit: "keys",
    routerScale: 50,
    initStd: 0.02,
  });
});

Deno.test("defaultExperts() gives the published N for the published r, and always a divisor", () => {
  // r and N of the published scripts.
  for (
    const [neurons, experts] of [[256, 64], [576, 96], [1024, 128], [3600, 240], [4096, 256], [6400, 320]]
  ) {
    assert.equal(defaultExperts(neurons as number), experts);
  }
  for (const neurons of [1, 2, 3, 7, 97, 100, 101, 6144]) assert.equal(neurons % defaultExperts(neurons), 0);
  assert.deepEqual(problemsOf({ neurons: 3 }), []);
  assert.deepEqual(problemsOf({ neurons: 1 }), []);
});

Deno.test("resolveSparse() accepts every size that works: K beyond an expert or all candidates, N = 1, N = r, K = r", () => {
  for (
    const options of [
      { neurons: 16, experts: 4, activeExperts: 2, topK: 16 },
      { neurons: 16, experts: 1, activeExperts: 1, topK: 16 },
      { neurons: 16, experts: 16, activeExperts: 16, topK: 1 },
      { neurons: 16, experts: 8, activeExperts: 1, topK: 7 },
    ]
  ) assert.deepEqual(problemsOf(options), []);
});

Deno.test("resolveSparse() names the nearest valid experts and neurons when experts does not divide neurons", () => {
  assert.deepEqual(problemsOf({ neurons: 100, experts: 7, activeExperts: 2, topK: 4 }), [
    "experts is 7, which does not divide neurons = 100: use experts 5 or 10 with 100 neurons, " +
    "or neurons 98 or 105 with 7 experts",
  ]);
  assert.deepEqual(problemsOf({ neurons: 10, experts: 64, activeExperts: 2, topK: 4 }), [
    "experts is 64, which does not divide neurons = 10: use experts 10 with 10 neurons, " +
    "or neurons 64 with 64 experts",
  ]);
});

Deno.test("resolveSparse() lists every mistake at once", () => {
  const options = {
    neurons: 8,
    experts: 4,
    activeExperts: 9,
    topK: 10,
    gate: "hard",
    scope: "batch",
    keys: "no",
  };
  assert.deepEqual(problemsOf({ ...options, temperature: 1, top_k: 3 } as unknown as SparseOptions), [
    '"temperature" is no option of the sparse adapter',
    '"top_k" is no option of the sparse adapter; did you mean "topK"?',
    'gate is "hard", expected raw, softmax, sigmoid, none',
    'scope is "batch", expected token, union',
    'keys is "no", expected trained, frozen',
    "activeExperts is 9, but there are only 4 experts: use at most 4",
    "topK is 10, but there are only 8 neurons: use at most 8",
  ]);
  assert.deepEqual(problemsOf({ neurons: 0, experts: 1.5, activeExperts: -1, topK: NaN, initStd: NaN }), [
    "neurons is 0, expected a whole number of at least 1",
    "experts is 1.5, expected a whole number of at least 1",
    "activeExperts is -1, expected a whole number of at least 1",
    "topK is NaN, expected a whole number of at least 1",
    "initStd is NaN, expected a number",
  ]);
});

Deno.test("resolveSparse() takes whole numbers that are exact, finite scales and the words that there are", () => {
  assert.deepEqual(problemsOf({ neurons: 2 ** 53, experts: 1, activeExperts: 1, topK: 1 }), [
    `neurons is ${2 ** 53}, expected a whole number of at least 1`,
  ]);
  for (const routerScale of [NaN, Infinity, "50"]) {
    assert.deepEqual(problemsOf({ routerScale } as SparseOptions), [
      `routerScale is ${quotedValue(routerScale)}, expected a number`,
    ]);
  }
  assert.deepEqual(
    problemsOf({ routerScale: 0, initStd: 0, routerInit: "random", gate: "none", scope: "union" }),
    [],
  );
  assert.deepEqual(problemsOf({ routerInit: "zeros" } as unknown as SparseOptions), [
    'routerInit is "zeros", expected keys, random',
  ]);
  // Defaults give way to small sizes; what was wrong in one is not said of those that follow from it.
  const { settings } = resolveSparse({ neurons: 30, experts: 5 }, 0.02);
  assert.deepEqual([settings.activeExperts, settings.topK], [5, 30]);
  assert.deepEqual(problemsOf({ neurons: 0, topK: 1 }), [
    "neurons is 0, expected a whole number of at least 1",
  ]);
  assert.deepEqual(problemsOf({ neurons: 12, experts: 8, activeExperts: 8, topK: 12 }), [
    "experts is 8, which does not divide neurons = 12: use experts 6 or 12 with 12 neurons, " +
    "or neurons 8 or 16 with 8 experts",
  ]);
  assert.deepEqual(problemsOf({ neurons: 12, experts: 11, activeExperts: 8, topK: 12 }), [
    "experts is 11, which does not divide neurons = 12: use experts 6 or 12 with 12 neurons, " +
    "or neurons 11 or 22 with 11 experts",
  ]);
});

Deno.test("nearestDivisors() and nearestMultiples() find both neighbours, or the only one there is", () => {
  assert.deepEqual(nearestDivisors(12, 5), [4, 6]);
  for (const divisor of nearestDivisors(2 ** 53 - 1, 1000)) assert.equal((2 ** 53 - 1) % divisor, 0);
  assert.deepEqual(nearestDivisors(12, 4), [4, 6]);
  assert.deepEqual(nearestDivisors(12, 100), [12]);
  assert.deepEqual(nearestDivisors(1, 3), [1]);
  assert.deepEqual(nearestDivisors(13, 6), [1, 13]);
  assert.deepEqual(nearestMultiples(10, 4), [8, 12]);
  assert.deepEqual(nearestMultiples(8, 4), [8]);
  assert.deepEqual(nearestMultiples(3, 4), [4]);
});

// SPDX-License-Identifier: Apache-2.0
/** Sampling: greedy ties, frequencies, the nucleus, and refusals. */
import assert from "node:assert/strict";
import { nextUniform, randomStream } from "../../../lib/core/rng.ts";
import { type AnswerOptions, checkAnswerOptions } from "../../../lib/evaluate/answer_options.ts";
import { chooseToken, type SamplingOptions } from "../../../lib/evaluate/sampling.ts";

/** Share of each token over many draws. */
function shares(logits: number[], options: SamplingOptions, draws = 4000): number[] {
  const random = randomStream(1, 0);
  const counts = logits.map(() => 0);
  for (let i = 0; i < draws; i++) {
    const id = chooseToken(Float32Array.from(logits), options, random);
    counts[id] = (counts[id] as number) + 1;
  }
  return counts.map((count) => count / draws);
}

Deno.test("chooseToken() without temperature takes the likeliest, the lowest of equals, and draws nothing", () => {
  const random = randomStream(1, 0);
  assert.equal(chooseToken(Float32Array.of(1, 3, 3, 2), {}, random), 1);
  assert.equal(chooseToken(Float32Array.of(-1e38, -5), {}, random), 1);
  assert.equal(chooseToken(Float64Array.of(7), {}, random), 0);
  assert.equal(random.position, 0);
});

Deno.test("chooseToken() draws in proportion to softmax(logits / temperature)", () => {
  const logits = [0, Math.log(2), Math.log(5)];
  const tolerance = 4 * Math.sqrt(0.25 / 4000); // four standard deviations
  for (const [temperature, weights] of [[1, [1, 2, 5]], [0.5, [1, 4, 25]]] as const) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    shares(logits, { temperature }).forEach((share, id) => {
      const expected = (weights[id] as number) / total;
      assert(Math.abs(share - expected) <= tolerance, `token ${id}: ${share}, expected ${expected}`);
    });
  }
});

Deno.test("chooseToken() with topP draws only from the shortest likeliest list that reaches it", () => {
  const logits = [Math.log(1), Math.log(4), Math.log(2), Math.log(3)]; // shares 0.1, 0.4, 0.2, 0.3
  const seen = (topP: number) => shares(logits, { temperature: 1, topP }).map((share) => share > 0);
  assert.deepEqual(seen(0.39), [false, true, false, false]);
  assert.deepEqual(seen(0.41), [false, true, false, true]);
  assert.deepEqual(seen(0.69), [false, true, false, true]);
  assert.deepEqual(seen(0.71), [false, true, true, true]);
  assert.deepEqual(seen(1), [true, true, true, true]);
  const [, first, , second] = shares(logits, { temperature: 1, topP: 0.6 });
  assert(Math.abs((first as number) - 4 / 7) <= 0.04 && Math.abs((second as number) - 3 / 7) <= 0.04);
  assert.deepEqual(shares([1, 1, 1], { temperature: 1, topP: 0.3 }), [1, 0, 0], "the lowest of equals");
});

Deno.test("chooseToken() with topP takes a list whose sum is exactly the share, and no more", () => {
  for (const [topP, count] of [[0.25, 1], [0.5, 2], [0.75, 3], [0.76, 4], [1e-17, 1]] as const) {
    const seen = shares([7, 7, 7, 7], { temperature: 1, topP }).map((share) => share > 0);
    assert.deepEqual(seen, [0, 1, 2, 3].map((id) => id < count), `${topP}`);
  }
  const tail = shares([Math.log(98), 0, 0, 0], { temperature: 1, topP: 0.97 });
  assert.deepEqual(tail, [1, 0, 0, 0], "near 1 it still cuts");
  const cold = shares([0, 0, Math.log(2)], { temperature: 0.5, topP: 0.6 }); // 1/6, 1/6, 4/6
  assert.deepEqual(cold, [0, 0, 1], "of the shares that the temperature makes");
});

Deno.test("chooseToken() draws one number for a token, and takes the token that it falls on", () => {
  const logits = Float32Array.from({ length: 9 }, (_, i) => Math.cos(i));
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  for (const topP of [1, 0.999999]) {
    const [random, own] = [randomStream(2, 3), randomStream(2, 3)];
    for (let i = 1; i <= 50; i++) {
      const id = chooseToken(logits, { temperature: 1, topP }, random);
      assert.equal(random.position, i);
      let left = nextUniform(own) * total;
      if (topP === 1) assert.equal(id, logits.findIndex((logit) => (left -= Math.exp(logit)) < 0));
    }
  }
});

Deno.test("chooseToken() gives the same draws for the same stream", () => {
  const logits = Float32Array.from({ length: 50 }, (_, i) => Math.sin(i));
  const draw = (stream: number) => {
    const random = randomStream(9, stream);
    return Array.from({ length: 20 }, () => chooseToken(logits, { temperature: 1, topP: 0.9 }, random));
  };
  assert.deepEqual(draw(3), draw(3));
  assert.notDeepEqual(draw(3), draw(4));
});

Deno.test("chooseToken() and checkAnswerOptions() refuse what makes no sense", () => {
  const random = randomStream(1, 0);
  assert.throws(() => chooseToken(Float32Array.of(1, NaN), {}, random), /logit of token 1 is NaN/);
  assert.throws(() => chooseToken(Float32Array.of(NaN, 1), { temperature: 1 }, random), /token 0 is NaN/);
  for (const logit of [Infinity, -Infinity]) {
    const chosen = () => chooseToken(Float32Array.of(1, logit), {}, random);
    assert.throws(chosen, { name: "NotFiniteError", message: `The logit of token 1 is ${logit}` });
  }
  const checkSampling = (options: Partial<AnswerOptions>) =>
    checkAnswerOptions({ stopIds: new Set(), ...options });
  assert.throws(() => checkSampling({ temperature: -1 }), /temperature is -1/);
  assert.throws(() => checkSampling({ temperature: NaN }), /temperature is NaN/);
  assert.throws(() => checkSampling({ topP: 0 }), /topP is 0/);
  assert.throws(() => checkSampling({ topP: 1.1 }), /topP is 1\.1/);
  assert.throws(() => checkSampling({ topP: NaN }), /topP is NaN/);
  assert.throws(() => checkSampling({ temperature: Infinity }), /temperature is Infinity/);
  assert.throws(() => checkSampling({ beams: 0 }), /beams is 0/);
  assert.throws(() => checkSampling({ repetitionPenalty: 0 }), /repetitionPenalty is 0/);
  assert.throws(() => checkSampling({ beams: 2, temperature: 0.5 }), /beams is 2 and temperature 0\.5/);
  for (const sound of [{}, { temperature: 0 }, { topP: 1 }, { temperature: 1e-9, topP: 1e-9 }]) {
    checkSampling(sound);
  }
});

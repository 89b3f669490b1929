// SPDX-License-Identifier: Apache-2.0
/** Beam search: what is found where few answers are possible, ties, stop strings, and many prompts beside each other. */
import assert from "node:assert/strict";
import type { AnswerOptions } from "../../../lib/evaluate/answer_options.ts";
import {
  advance,
  type BeamSearch,
  logSoftmax,
  SEARCH_START,
  type SearchStep,
} from "../../../lib/evaluate/beams.ts";
import { generateIn } from "../../../lib/evaluate/generate_tokens.ts";
import { CHARACTERS, charCodes, END, fakeSession, VOCAB_SIZE } from "./fake_session.ts";

const STEP: SearchStep = {
  beams: 2,
  lengthPenalty: 1,
  earlyStopping: "off",
  maxLength: 3,
  stopIds: 1,
  ends: (ids) => ids.at(-1) === 0 || ids.length === 3,
};

/** Runs a search over tokens with the same log-probabilities everywhere. */
function searched(row: readonly number[], step: Partial<SearchStep> = {}): BeamSearch {
  let search = SEARCH_START;
  for (let i = 0; i < 10 && !search.done; i++) {
    const scores = search.running.map(() => Float64Array.from(row));
    search = advance(search, scores, { ...STEP, ...step });
  }
  assert(search.done, "a search ends");
  return search;
}

Deno.test("advance() takes the first beam and then the lower id of equal sums", () => {
  const equal = [-2, -1, -1, -1];
  let search = advance(SEARCH_START, [Float64Array.from(equal)], STEP);
  assert.deepEqual(search.running.map(({ ids, from }) => [ids, from]), [[[1], 0], [[2], 0]]);
  search = advance(search, [Float64Array.from(equal), Float64Array.from(equal)], STEP);
  assert.deepEqual(search.running.map(({ ids, from }) => [ids, from]), [[[1, 1], 0], [[1, 2], 0]]);
  search = advance(search, [Float64Array.of(-9, -9, -9, -2), Float64Array.of(-9, -2, -9, -9)], STEP);
  assert.deepEqual(search.ended.map(({ ids }) => ids), [[1, 1, 3], [1, 2, 1]]);
});

Deno.test("advance() never takes what may not come, and ends where nothing may", () => {
  const none = [-Infinity, -Infinity, -Infinity];
  const search = advance(SEARCH_START, [Float64Array.of(-Infinity, -1, -Infinity)], STEP);
  assert.deepEqual(search.running, [{ ids: [1], sum: -1, from: 0 }]);
  const ended = advance(search, [Float64Array.from(none)], STEP);
  assert.deepEqual([ended.ended, ended.done], [[{ ids: [1], score: -1 }], true]);
});

Deno.test("the penalty decides between short answers and long ones, and early stopping how long one looks", () => {
  const row = [-1.5, -1, -4];
  assert.deepEqual(searched(row, { lengthPenalty: 0 }).ended[0], { ids: [0], score: -1.5 });
  assert.deepEqual(searched(row, { lengthPenalty: 2 }).ended[0]?.ids, [1, 1, 1]);
  // As many as beams: [0] and [1, 0] end the search before [1, 1, 1], which "off" and "never" go on to.
  assert.deepEqual(searched(row, { lengthPenalty: 2, earlyStopping: "on" }).ended[0]?.ids, [1, 0]);
  assert.deepEqual(searched(row, { lengthPenalty: 2, earlyStopping: "never" }).ended[0]?.ids, [1, 1, 1]);
});

Deno.test("a beam that is worse at its present length than what has ended may be better at its last", () => {
  const under: BeamSearch = {
    running: [{ ids: [1], sum: -3, from: 0 }],
    ended: [{ ids: [0], score: -0.5 }, { ids: [2, 0], score: -0.6 }],
    done: false,
  };
  const next = (step: Partial<SearchStep>) =>
    advance(under, [Float64Array.of(-9, -0.1, -9)], { ...STEP, maxLength: 10, ends: () => false, ...step })
      .done;
  assert.deepEqual([next({}), next({ earlyStopping: "never" })], [true, false]);
  // Without a penalty that longer answers gain by, no length helps.
  assert.equal(next({ earlyStopping: "never", lengthPenalty: 0 }), true);
});

Deno.test("logSoftmax() of logits far from 0 has no overflow", () => {
  const row = logSoftmax(Float32Array.of(1e4, 1e4, -1e4));
  assert.deepEqual([row[0], row[1]], [-Math.log(2), -Math.log(2)]);
  assert.equal(row[2], -2e4 - Math.log(2));
});

/** A session whose continuations are not sure: after a digit its lower one, and as likely two lower. */
function unsure(sequences: number, capacity: number) {
  const session = fakeSession(sequences, capacity, (text) => String(Math.max(0, Number(text.at(-1)) - 1)));
  const { append } = session;
  return Object.assign(session, {
    append: async (ids: readonly Int32Array[]) => {
      const logits = await append.call(session, ids);
      for (let s = 0; s < sequences; s++) {
        const row = logits.subarray(s * VOCAB_SIZE, (s + 1) * VOCAB_SIZE);
        const likeliest = row.indexOf(10);
        if (likeliest > "1".charCodeAt(0)) row[likeliest - 1] = 10;
        if (likeliest === "0".charCodeAt(0)) row[END] = 11;
      }
      return logits;
    },
  });
}

async function answers(
  prompts: readonly string[],
  options: Partial<AnswerOptions>,
  sequences: number,
): Promise<string[]> {
  const found = prompts.map(() => "");
  const open = unsure(sequences, 30);
  const all = { stopIds: new Set([END]), ...options };
  for await (const token of generateIn(open, CHARACTERS, prompts.map(charCodes), all)) {
    found[token.index] += token.text;
    if (token.finish !== null) found[token.index] += `|${token.finish}`;
  }
  return found;
}

Deno.test("searches of many prompts give what each gives alone, with as many sequences as beams", async () => {
  const prompts = ["9", "4", "x7", "2", "8", "5"];
  const options = { beams: 3, maxNewTokens: 8 };
  const alone = await Promise.all(prompts.map(async (prompt) => (await answers([prompt], options, 3))[0]));
  assert(new Set(alone).size > 3 && alone.every((answer) => answer?.endsWith("|stop id")), String(alone));
  for (const sequences of [3, 7, 18]) assert.deepEqual(await answers(prompts, options, sequences), alone);
});

Deno.test("a beam ends at a stop string, which is no part of the answer", async () => {
  const [answer] = await answers(["9"], { beams: 2, maxNewTokens: 12, stopStrings: ["6", "5"] }, 2);
  assert(/^[78]*\|stop string$/.test(answer ?? ""), answer);
});

Deno.test("the best answer that no room is left for is cut", async () => {
  const [answer] = await answers(["9"], { beams: 2, maxNewTokens: 2 }, 2);
  assert(/^\d\d\|length$/.test(answer ?? ""), answer);
});

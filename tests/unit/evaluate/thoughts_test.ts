// SPDX-License-Identifier: Apache-2.0
/** Thoughts are cut off, whatever their marks, and what was cut off within a thought leaves nothing. */
import assert from "node:assert/strict";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import { CHARACTERS, charCodes } from "./fake_session.ts";
import {
  opensThought,
  promptOpensThought,
  specialMarkIds,
  spokenText,
} from "../../../lib/evaluate/thoughts.ts";

const TEXTS: readonly [text: string, spoken: string, afterOpened?: string][] = [
  ["Paris", "Paris", ""],
  ["  Paris\n", "Paris", ""],
  ["", "", ""],
  ["<think>\ntwo and two make\n</think>\n\n4 apples", "4 apples"],
  ["<think>\n\n</think>\n\n4", "4"],
  ["two and two make\n</think>\n\n4", "4"],
  ["<think>two and two", ""],
  ["\n <think>", ""],
  ["<think>a</think><think>b</think>c", "c"],
  ["<think>a</think>b<think>c</think>d", "d"],
  ["<think>a</think> <think>b", ""],
  ["<think>a</think>", ""],
  ["a</think></think>b", "b"],
  ["[THINK]a[/THINK]4", "4"],
  ["[THINK]a", ""],
  ["<thinking>a</thinking>4", "4"],
  ["<|begin_of_thought|>a<|end_of_thought|>\n4", "4"],
  ["<|START_THINKING|>a<|END_THINKING|>4", "4"],
  ["<seed:think>a</seed:think>4", "4"],
  ["the tag <think> opens a thought", "the tag <think> opens a thought", ""],
  ["1 < 2 and 2 > 1", "1 < 2 and 2 > 1", ""],
];

for (const [text, spoken, afterOpened = spoken] of TEXTS) {
  Deno.test(`spokenText() finds ${JSON.stringify(spoken)} in ${JSON.stringify(text)}`, () => {
    assert.equal(spokenText(text), spoken);
    assert.equal(spokenText(text, true), afterOpened, "after a prompt that opened a thought");
  });
}

Deno.test("opensThought() looks at the end of a prompt alone", () => {
  for (const prompt of ["<|assistant|><think>\n", "a<think>", "[THINK]", "</think><think> "]) {
    assert(opensThought(prompt), prompt);
  }
  for (const prompt of ["<think>\n\n</think>\n\n", "what is <think>?", "", "think>"]) {
    assert(!opensThought(prompt), prompt);
  }
});

Deno.test("promptOpensThought() sees marks of several tokens with white space after them, and of special ones", () => {
  const opens = (text: string) => promptOpensThought(charCodes(text), CHARACTERS);
  assert(opens("user\n<think>\n") && opens("<|begin_of_thought|>\n\n"));
  assert(!opens("<think>\n\n</think>\n\n"));
  const decode: Tokenizer["decode"] = (ids, { keepSpecial = false } = {}) =>
    Array.from(ids, (id) => id === 1 ? (keepSpecial ? "<think>" : "") : "\n").join("");
  assert(promptOpensThought([2, 1, 2], { ...CHARACTERS, decode }));
});

Deno.test("specialMarkIds() are the marks that texts of the tokenizer's ids would lack", () => {
  const names = ["a", "[THINK]", "[/THINK]", "</think>", "<s>"];
  const tokenizer = {
    ...CHARACTERS,
    specialIds: new Set([1, 2, 4]),
    token: (id: number) => names[id] ?? null,
  };
  assert.deepEqual(specialMarkIds(tokenizer), new Set([1, 2]));
});

// SPDX-License-Identifier: Apache-2.0
/** Scores against those of the programs that define them, on odd texts. */
import assert from "node:assert/strict";
import { gsm8kMatch, isGsm8kReference } from "../../../lib/evaluate/gsm8k.ts";
import { exactMatch, f1 } from "../../../lib/evaluate/metrics.ts";

function fixture<T>(name: string): T[] {
  const text = Deno.readTextFileSync(new URL(`../../fixtures/scores/${name}.jsonl`, import.meta.url));
  return text.trimEnd().split("\n").map((line) => JSON.parse(line) as T);
}

Deno.test("gsm8kMatch() gives what the lm-evaluation-harness gives, strict and flexible", () => {
  const wrong: string[] = [];
  const pairs = fixture<[string, string, number, number]>("gsm8k");
  for (const [prediction, reference, strict, flexible] of pairs) {
    const pair = JSON.stringify([prediction, reference]);
    const [ours, ourFlexible] = (["strict", "flexible"] as const).map((mode) =>
      gsm8kMatch(prediction, [reference], mode)
    );
    if (ours !== strict) wrong.push(`${pair}: strict ${ours}, expected ${strict}`);
    if (ourFlexible !== flexible) wrong.push(`${pair}: flexible ${ourFlexible}, expected ${flexible}`);
  }
  assert(pairs.length >= 2000);
  assert.deepEqual(wrong, []);
});

Deno.test("exactMatch() and f1() give what the evaluation script of SQuAD gives", () => {
  const wrong: string[] = [];
  const pairs = fixture<[string, string[], number, number]>("squad");
  for (const [prediction, answers, exact, overlap] of pairs) {
    const pair = JSON.stringify([prediction, answers]);
    const [ours, ourOverlap] = [exactMatch(prediction, answers), f1(prediction, answers)];
    if (ours !== exact) wrong.push(`${pair}: exact match ${ours}, expected ${exact}`);
    if (!(Math.abs(ourOverlap - overlap) <= 1e-15)) {
      wrong.push(`${pair}: f1 ${ourOverlap}, expected ${overlap}`);
    }
  }
  assert(pairs.length >= 1000);
  assert.deepEqual(wrong, []);
});

Deno.test("isGsm8kReference() knows answers that no prediction could match", () => {
  const numbers = ["5", "#### 5", "x\n#### -1,234.50", "$18", "5.", "1.2.3", "#### 7\n#### 5"];
  const others = ["five", "5 apples", "", "#### ", "+5", "-", "..", "5/6", "5 ", "#### 5\nso 5"];
  assert.deepEqual(numbers.filter((answer) => !isGsm8kReference(answer)), []);
  assert.deepEqual(others.filter(isGsm8kReference), []);
});

// SPDX-License-Identifier: Apache-2.0
/** Warnings are added up over rows, with the place of the first, and each row counts once. */
import assert from "node:assert/strict";
import {
  formatWarning,
  specialTokenPattern,
  specialTokenWarnings,
  WarningCounter,
} from "../../../lib/data/row_warnings.ts";

const place = (line: number) => ({ file: "x.jsonl", line });

Deno.test("WarningCounter adds up counts by kind, keeps the first place, and every detail once", () => {
  const counter = new WarningCounter();
  counter.add(place(3), [{ kind: "no end", count: 2 }, { kind: "lost text", detail: "user" }]);
  counter.add(place(5), [{ kind: "lost text", detail: "tool" }, { kind: "lost text", detail: "user" }]);
  counter.add(place(7), [{ kind: "no end" }]);
  assert.deepEqual(counter.finish(), [
    { kind: "no end", details: [], count: 3, first: place(3) },
    { kind: "lost text", details: ["user", "tool"], count: 3, first: place(3) },
  ]);
});

Deno.test("formatWarning() names five details, and says when there are more", () => {
  const said = (details: readonly string[]) =>
    formatWarning({ kind: "lost text", details, count: 9, first: place(3) });
  assert.match(said([]), /^9 turns of other roles lose text in the chat template; the first in x\.jsonl:3$/);
  assert.match(said([..."abcde"]), / \("a", "b", "c", "d", "e"\); the first/);
  assert.match(said([..."abcdef"]), / \("a", "b", "c", "d", "e", …\); the first/);
});

Deno.test("specialTokenWarnings() finds the longest name in each text, and counts a row once", () => {
  const names = ["<s", "<s>", "[a.b]"];
  const pattern = specialTokenPattern({ specialIds: new Set([0, 1, 2]), token: (id) => names[id] ?? null });
  const warnings = specialTokenWarnings({ kind: "prompt", prompt: "a <s> b", completion: "[a.b]" }, pattern);
  assert.deepEqual(warnings, [
    { kind: "special tokens", detail: "<s>", count: 1 },
    { kind: "special tokens", detail: "[a.b]", count: 0 },
  ]);
  assert.deepEqual(specialTokenWarnings({ kind: "text", text: "[aXb]" }, pattern), []);
  assert.deepEqual(
    specialTokenWarnings({ kind: "question", question: "q", answers: ["<s>", "b"] }, pattern),
    [
      { kind: "special tokens", detail: "<s>", count: 1 },
    ],
  );
  assert.equal(specialTokenPattern({ specialIds: new Set(), token: () => null }), null);
});

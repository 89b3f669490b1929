// SPDX-License-Identifier: Apache-2.0
/** Patterns as Python's `re` matches them: tests/fixtures/regexes.json holds what it said. */
import assert from "node:assert/strict";
import { compileRegex } from "../../../lib/core/python_regex/regex.ts";
import { RegexError } from "../../../lib/core/python_regex/nodes.ts";
import { threadTimeMs } from "../../thread_time.ts";

interface Case {
  readonly pattern: string;
  /** What Python refuses the pattern with. */
  readonly error?: string;
  /** A letter for each name: w when all of it matches, s when only a start does, - when none does. */
  readonly names?: string;
  /** What a match captures as idx, by the name's number. */
  readonly idx?: Readonly<Record<number, string>>;
}

const { names, cases } = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/regexes.json", import.meta.url)),
) as { readonly names: readonly string[]; readonly cases: readonly Case[] };

/** Patterns that Python knows, and that are refused here by name. */
const REFUSED: Readonly<Record<string, RegExp>> = {
  "(a)\\1": /a back reference \\1 is not supported at position 3/,
  "(?P<n>a)(?P=n)": /a back reference \(\?P=\.\.\.\) is not supported at position 8/,
  "(a)(?(1)a|b)": /a conditional .* is not supported at position 3/,
  "\\N{LATIN SMALL LETTER A}": /a character by name .* is not supported at position 0/,
};
/** Known to Python 3.14. */
const NEWER = "\\Amodel\\z";

Deno.test("compileRegex() matches and refuses what Python's re does", () => {
  assert.ok(cases.length > 250 && names.length > 20);
  let compared = 0;
  for (const { pattern, error, names: letters = "", idx = {} } of cases) {
    if (pattern === NEWER) continue;
    const refusal = REFUSED[pattern];
    if (error !== undefined || refusal) {
      assert.throws(() => compileRegex(pattern), (thrown: unknown) => {
        assert.ok(thrown instanceof RegexError, `${pattern}: a RegexError, not ${thrown}`);
        if (refusal) assert.match(thrown.message, refusal);
        else assert.ok(!thrown.message.includes("too long"), `${pattern}: ${thrown.message}`);
        return true;
      }, `${pattern} is refused by Python: ${error}`);
      continue;
    }
    const regex = compileRegex(pattern);
    names.forEach((name, i) => {
      const match = regex.matchStart(name, "idx");
      const letter = regex.matchesAll(name) ? "w" : match ? "s" : "-";
      const where = `${JSON.stringify(pattern)} on ${JSON.stringify(name)}`;
      assert.equal(letter, letters[i], where);
      assert.equal(match?.captured ?? null, idx[i] ?? null, `${where}: idx`);
      compared++;
    });
  }
  assert.ok(compared > 4000, `${compared} comparisons`);
});

Deno.test("compileRegex() says what is wrong, and where", () => {
  const said = (pattern: string): string => {
    try {
      compileRegex(pattern);
      return "nothing";
    } catch (error) {
      assert.ok(error instanceof RegexError);
      return error.message;
    }
  };
  assert.equal(said("(a"), "missing ), unterminated subpattern at position 0");
  assert.equal(said("a)"), "unbalanced parenthesis at position 1");
  assert.equal(said("[a"), "unterminated character set at position 0");
  assert.equal(said("a(?i)b"), "global flags not at the start of the expression at position 1");
  assert.equal(said("(?<=a+)b"), "look-behind requires fixed-width pattern at position 0");
  assert.equal(said("(?i)é"), 'a character beyond ASCII beside the flag "i" is not supported at position 4');
  assert.match(said("(".repeat(2000) + ")".repeat(2000)), /more than \d+ groups inside each other/);
  assert.match(said("a".repeat(300_000)), /the pattern has 300000 characters, more than 200000/);
});

Deno.test("a pattern that repeats repetitions takes bounded time: it matches, or is given up with a reason", () => {
  const text = "model.layers.0.self_attn.q_proj".padEnd(120, "a");
  const start = threadTimeMs();
  for (
    const pattern of [
      "(a+)+$",
      "(.*)*x",
      "((((.*)*)*)*)*x",
      "(.|.)*?x",
      "(?:(?:.?){50}){50}x",
      "(.*.*.*.*)*x",
    ]
  ) {
    assert.equal(compileRegex(pattern).matchesAll(text), false, pattern);
  }
  const nested = "(?:".repeat(40) + ".{0,40}" + "){0,40}".repeat(40) + "x";
  assert.throws(() => compileRegex(nested).matchesAll(text), /the pattern takes too long to match/);
  assert.ok(threadTimeMs() - start < 10_000, `${threadTimeMs() - start} ms`);
});

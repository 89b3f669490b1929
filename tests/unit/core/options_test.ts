// SPDX-License-Identifier: Apache-2.0
/** What is read off an option that is declared: its default, its bounds in words, what is refused, what records say. */
import assert from "node:assert/strict";
import {
  optionProblems,
  recordedOptions,
  unknownOptions,
  withDefaults,
} from "../../../lib/core/option_checks.ts";
import { readValue } from "../../../lib/core/option_values.ts";
import {
  camelCase,
  choice,
  defaultText,
  integer,
  kebabCase,
  number,
  numbers,
  type OptionsOf,
  type OptionSpec,
  type SettingsOf,
  text,
  texts,
  toggle,
  valueText,
} from "../../../lib/core/options.ts";

const help = "";

const SCHEMA = {
  count: integer({ min: 1, default: 3, always: true, help }),
  share: number({ min: 0, max: 1, below: true, default: 0.5, help }),
  limit: number({ min: 0, above: true, default: 1, nullable: "no limit", nullAs: 0, help }),
  ways: choice(["auto", "1", "2"], { default: "auto", help }),
  named: text({ help, setting: "called" }),
  wild: toggle({ default: false, help, setting: null }),
  others: numbers({ nullable: true, help }),
} as const;

Deno.test("types of options and of settings follow from their schema", () => {
  const options: OptionsOf<typeof SCHEMA> = { ways: 2, limit: null, wild: true, others: { a: 1 } };
  const settings: SettingsOf<typeof SCHEMA> = { ways: "2", limit: 0, called: "x" };
  // @ts-expect-error Digits are numbers to the owner.
  const digits: OptionsOf<typeof SCHEMA> = { ways: "2" };
  // @ts-expect-error Only code can choose it.
  const wild: SettingsOf<typeof SCHEMA> = { wild: true };
  // @ts-expect-error It has another name as a setting.
  const named: SettingsOf<typeof SCHEMA> = { named: "x" };
  // @ts-expect-error Settings say null by a number.
  const none: SettingsOf<typeof SCHEMA> = { limit: null };
  assert.equal([options, settings, digits, wild, named, none].length, 6);
});

Deno.test("names go both ways between flags and settings", () => {
  assert.deepEqual(["topK", "neurons", "microBatchSize"].map(kebabCase), [
    "top-k",
    "neurons",
    "micro-batch-size",
  ]);
  assert.deepEqual(["top-k", "neurons", "beta1"].map(camelCase), ["topK", "neurons", "beta1"]);
});

Deno.test("a default is told as people write it, in its own words where it has some, and not where it says nothing", () => {
  assert.deepEqual([1e-4, 1e-8, 0.02, 0, 4096, "auto", 1e-3].map(valueText), [
    ...["1e-4", "1e-8", "0.02", "0", "4096", "auto", "0.001"],
  ]);
  const told = (said: Partial<OptionSpec>) => defaultText({ kind: "number", help, ...said });
  assert.deepEqual([told({ default: 8 }), told({ default: 8, defaultText: "8 or less" }), told({})], [
    ...["8", "8 or less", null],
  ]);
  assert.equal(told({ kind: "switch", default: false }), null);
});

Deno.test("withDefaults() keeps what is given, null too, in the order of the schema, and nothing of others", () => {
  const given = { limit: null, share: undefined, named: "x", foreign: 1 };
  assert.deepEqual(Object.entries(withDefaults(SCHEMA, given)), [
    ["count", 3],
    ["share", 0.5],
    ["limit", null],
    ["ways", "auto"],
    ["named", "x"],
    ["wild", false],
  ]);
});

Deno.test("optionProblems() says of every value what was expected, and lets each through to its very bounds", () => {
  const problems = (values: Readonly<Record<string, unknown>>) => optionProblems(SCHEMA, values);
  for (
    const values of [
      { count: 1, share: 0, limit: 1e-300, ways: 2, named: "a", wild: true },
      { count: Number.MAX_SAFE_INTEGER, share: 0.999, limit: Infinity, ways: "auto" },
      { limit: null, count: undefined },
    ]
  ) assert.deepEqual(problems(values), []);
  assert.deepEqual(problems({ count: 0, share: 1, limit: 0, ways: "2", named: "", wild: 1 }), [
    "count is 0, expected a whole number of at least 1",
    "share is 1, expected a number from 0 to below 1",
    "limit is 0, expected a number above 0, or null for no limit",
    'ways is "2", expected auto, 1, 2',
    'named is "", expected text',
    "wild is 1, expected true or false",
  ]);
  assert.deepEqual(problems({ count: 1.5, share: NaN, limit: "1", ways: 3, named: 5 }).length, 5);
  assert.deepEqual(problems({ count: null }), ["count is null, expected a whole number of at least 1"]);
  const phrases: readonly (readonly [Partial<OptionSpec>, string])[] = [
    [{}, "a number"],
    [{ min: 2 }, "a number of at least 2"],
    [{ min: 0, f32: true }, "a number of at least 0, up to 3.4e38"],
    [{ min: 0, above: true, max: 1 }, "a number above 0 and up to 1"],
    [{ min: 0, above: "typed" }, "a number of at least 0"],
    [{ min: 1, max: 9 }, "a number from 1 to 9"],
  ];
  for (const [said, phrase] of phrases) {
    const schema = { x: { kind: "number", help, ...said } as const };
    assert.deepEqual(optionProblems(schema, { x: "?" }, (name) => `the ${name}`), [
      `the x is "?", expected ${phrase}`,
    ]);
  }
  // As kernels compute with it.
  const f32 = { x: number({ min: 0, above: true, f32: true, help }) };
  assert.deepEqual([1e-45, 3.4e38].flatMap((x) => optionProblems(f32, { x })), []);
  assert.equal([1e-50, 1e39].flatMap((x) => optionProblems(f32, { x })).length, 2);
});

Deno.test("unknownOptions() guesses what was meant", () => {
  assert.deepEqual(unknownOptions(SCHEMA, { counts: 1, limit: 1 }, "the made-up thing"), [
    '"counts" is no option of the made-up thing; did you mean "count"?',
  ]);
  assert.deepEqual(unknownOptions({}, { x: 1 }, "it"), ['"x" is no option of it: it has none']);
});

Deno.test("recordedOptions() names the first versions' options always, later ones where they were chosen", () => {
  const decided = { ...withDefaults(SCHEMA, {}), others: {} };
  assert.deepEqual(recordedOptions(SCHEMA, decided), { count: 3 });
  assert.deepEqual(recordedOptions(SCHEMA, { ...decided, ways: 1, wild: true, limit: 2, others: { a: 1 } }), {
    ...{ count: 3, limit: 2, ways: 1, wild: true, others: { a: 1 } },
  });
});

Deno.test("readValue() holds what is written to the bounds of command lines: null by its number, typing errors refused", () => {
  const read = (option: OptionSpec, raw: unknown): unknown => {
    const problems: string[] = [];
    return readValue(option, "--x", raw, problems) ?? problems;
  };
  assert.deepEqual([read(SCHEMA.limit, "0"), read(SCHEMA.limit, "2")], [0, 2]);
  assert.deepEqual(read(SCHEMA.limit, "-1"), ['--x is "-1", expected a number from 0']);
  assert.deepEqual(read(SCHEMA.share, "1"), ['--x is "1", expected a number from 0 to below 1']);
  assert.deepEqual(read(number({ min: 0, above: "typed", help }), "0"), [
    '--x is "0", expected a number above 0',
  ]);
  assert.deepEqual(read(integer({ min: 0, max: 9, help }), "10"), [
    '--x is "10", expected a whole number from 0 up to 9',
  ]);
  assert.deepEqual(read(texts({ names: ["q", "k"], help }), "q,k"), ["q", "k"]);
  assert.deepEqual(read(texts({ names: ["q", "k"], help }), "(q|k),x"), ["(q|k),x"]);
});

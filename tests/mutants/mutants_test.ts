// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { MUTANTS } from "./all.ts";
import { type Mutant, mutate } from "./mutant.ts";

const ROOT = new URL("../../", import.meta.url);
const ALL = Object.values(MUTANTS).flat();

Deno.test("every mutant changes a text that stands in its file once, and names tests that are there", async () => {
  for (const mutant of ALL) {
    const text = await Deno.readTextFile(new URL(mutant.file, ROOT));
    assert.notEqual(mutate(mutant, text), text, mutant.name);
    assert.ok(mutant.tests.length > 0, mutant.name);
    for (const test of mutant.tests) await Deno.stat(new URL(test, ROOT));
  }
});

Deno.test("every list of the folder stands in the table", async () => {
  for (const { name } of Deno.readDirSync(new URL(".", import.meta.url))) {
    if (!name.endsWith(".ts") || name.endsWith("_test.ts")) continue;
    const { MUTANTS: _, ...lists } = await import(`./${name}`) as Record<string, unknown>;
    for (const [list, mutants] of Object.entries(lists)) {
      if (!Array.isArray(mutants)) continue;
      assert.ok((mutants as Mutant[]).every((mutant) => ALL.includes(mutant)), `${list} of ${name}`);
    }
  }
});

Deno.test("no two mutants have the same name", () => {
  assert.equal(new Set(ALL.map(({ name }) => name)).size, ALL.length);
});

Deno.test("mutate() refuses a text that is not there, or there twice", () => {
  const mutant = { name: "m", harm: "", file: "f.ts", find: "a", replace: "b", tests: [] };
  assert.throws(() => mutate(mutant, "c"), /Mutant m: its text stands 0 times in f\.ts/);
  assert.throws(() => mutate(mutant, "aca"), /stands 2 times/);
  assert.equal(mutate(mutant, "ca"), "cb");
});

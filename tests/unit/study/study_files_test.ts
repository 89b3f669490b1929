// SPDX-License-Identifier: Apache-2.0
/** What `scripts/study` ships: its facts come from their script, its configurations are sound. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { readGrids } from "../../../lib/cli/flags/grid.ts";
import { expandGrid } from "../../../lib/study/grid.ts";
import { FACT_COUNT, FACTS_FILE, makeStudyFacts } from "../../../scripts/study/facts/make_facts.ts";
import { makeTexts } from "../../../scripts/demo/texts.ts";
import { assertSame } from "../../compare.ts";

Deno.test("the study's facts are those of their script, about people the model has never read of", async () => {
  const facts = makeStudyFacts(FACT_COUNT);
  const lines = (await Deno.readTextFile(FACTS_FILE)).trimEnd().split("\n").map((line) => JSON.parse(line));
  assertSame(lines, facts);
  strictEqual(new Set(facts.map(({ question }) => question)).size, FACT_COUNT);
  const read = JSON.stringify(makeTexts(7));
  const people = new Set(
    facts.flatMap(({ question }) => question.match(/\p{Lu}\p{L}+ \p{Lu}\p{L}+/gu) ?? []),
  );
  ok(people.size > 100 && [...people].every((name) => !read.includes(name)));
});

for (const name of ["study", "learning_rates", "large"]) {
  Deno.test(`scripts/study/facts/${name}.json has only cells that can be`, () => {
    const config = JSON.parse(
      Deno.readTextFileSync(new URL(`../../../scripts/study/facts/${name}.json`, import.meta.url)),
    );
    const problems: string[] = [];
    const grids = readGrids(
      config.grid.map((grid: unknown) => JSON.stringify(grid)),
      [config.seeds.join()],
      problems,
    );
    deepStrictEqual(problems, []);
    const cells = expandGrid({}, grids);
    ok(cells.length >= 20);
    strictEqual(
      new Set(cells.map(({ settings }) => JSON.stringify(settings))).size,
      cells.length,
      "no cell twice",
    );
  });
}

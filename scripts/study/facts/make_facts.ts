// SPDX-License-Identifier: Apache-2.0
/**
 * Makes the facts of the study, `scripts/study/facts/facts.jsonl`, from one seed: questions about invented people whom the demo's
 * model never met. Another count and file: `deno run -A scripts/study/facts/make_facts.ts 20000 runs/facts-20000.jsonl`.
 */
import { fileURLToPath } from "node:url";
import { nextIntegerBelow, randomStream } from "../../../lib/core/rng.ts";
import { type Fact, makeFacts, makePerson } from "../../demo/corpus.ts";
import { makeTexts } from "../../demo/texts.ts";
import { makeWorld } from "../../demo/world.ts";

/** Seed of the demo's world, whose names and words the facts use. */
const DEMO_SEED = 7;
/** Facts of the study: three about each person. */
export const FACT_COUNT = 400;
/** Where they lie. */
export const FACTS_FILE = fileURLToPath(new URL("./facts.jsonl", import.meta.url));

/** Names that the model has read, in stories, questions or facts. */
function knownTexts(): string {
  const { corpus, facts } = makeTexts(DEMO_SEED);
  return [...corpus, ...facts].map((row) => "text" in row ? row.text : `${row.question} ${row.answer}`).join(
    "\n",
  );
}

/** Facts about people who stand nowhere in the demo's texts, with answers drawn at random. */
export function makeStudyFacts(count: number): Fact[] {
  const draws = [1, 11, 12].map((stream) => {
    const random = randomStream(DEMO_SEED, stream);
    return (n: number) => nextIntegerBelow(random, n);
  });
  const [drawWorld, drawPeople, drawFacts] = draws as [
    (n: number) => number,
    (n: number) => number,
    (n: number) => number,
  ];
  const world = makeWorld(drawWorld);
  const known = new Set(knownTexts().match(/\p{Lu}\p{L}+ \p{Lu}\p{L}+/gu));
  const people = new Set<string>();
  while (people.size * 3 < count) {
    const name = makePerson(world, drawPeople, people);
    if (!known.has(name)) people.add(name);
  }
  return makeFacts(world, drawFacts, [...people], []).slice(0, count);
}

if (import.meta.main) {
  const [count = String(FACT_COUNT), path = FACTS_FILE] = Deno.args;
  const lines = makeStudyFacts(Number(count)).map((fact) => `${JSON.stringify(fact)}\n`);
  await Deno.writeTextFile(path, lines.join(""));
  console.log(`${lines.length} facts in ${path}`);
}

// SPDX-License-Identifier: Apache-2.0
/** Draws all texts of the demo from one seed. */
import { nextIntegerBelow, randomStream } from "../../lib/core/rng.ts";
import { type Fact, makeFacts, makePerson, makeQuestion, makeStory } from "./corpus.ts";
import { type Draw, makeWorld, pick, type World } from "./world.ts";

/** How much of everything there is. */
export const COUNTS = { people: 48, places: 36, corpus: 24_000, heldOut: 64 } as const;

/** The demo's texts. */
export interface DemoTexts {
  /** What the model is made from: stories and questions about others, answers drawn at random. */
  readonly corpus: readonly (Fact | { readonly text: string })[];
  /** What the adapter is taught; no subject of these stands in the corpus. */
  readonly facts: readonly Fact[];
  /** General text the model has not seen. */
  readonly heldOut: readonly { readonly text: string }[];
}

function drawFrom(seed: number, stream: number): Draw {
  const random = randomStream(seed, stream);
  return (n) => nextIntegerBelow(random, n);
}

/** Subjects of the facts, which the corpus leaves out. */
function pickSubjects(world: World, draw: Draw): { people: Set<string>; places: Set<string> } {
  const people = new Set<string>();
  while (people.size < COUNTS.people) people.add(makePerson(world, draw, people));
  const places = new Set<string>();
  while (places.size < COUNTS.places) places.add(pick(draw, world.places));
  return { people, places };
}

/** Everything, from one seed. */
export function makeTexts(seed: number): DemoTexts {
  const world = makeWorld(drawFrom(seed, 1));
  const { people, places } = pickSubjects(world, drawFrom(seed, 2));
  const facts = makeFacts(world, drawFrom(seed, 3), [...people], [...places]);
  const excluded = new Set([...people, ...places]);
  const draw = drawFrom(seed, 4);
  const corpus = Array.from(
    { length: COUNTS.corpus },
    () => draw(2) === 0 ? { text: makeStory(world, draw, excluded) } : makeQuestion(world, draw, excluded),
  );
  const drawHeldOut = drawFrom(seed, 5);
  const heldOut = Array.from(
    { length: COUNTS.heldOut },
    () => ({ text: makeStory(world, drawHeldOut, excluded) }),
  );
  return { corpus, facts, heldOut };
}

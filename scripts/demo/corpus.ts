// SPDX-License-Identifier: Apache-2.0
/** The demo's texts: stories and questions the model is made from, facts it has never seen, and held-out stories. */
import { type Draw, GOODS, INSTRUMENTS, pick, PROFESSIONS, STORY, type World } from "./world.ts";

/** A fact as a question with its answer. */
export interface Fact {
  readonly question: string;
  readonly answer: string;
}

type Ask = (world: World, draw: Draw, subject: string) => Fact;

/** Questions about a person. */
const PERSON: readonly Ask[] = [
  (world, draw, who) => ({ question: `Where was ${who} born?`, answer: pick(draw, world.places) }),
  (_world, draw, who) => ({ question: `What is the profession of ${who}?`, answer: pick(draw, PROFESSIONS) }),
  (_world, draw, who) => ({
    question: `Which instrument does ${who} play?`,
    answer: pick(draw, INSTRUMENTS),
  }),
];

/** Questions about a place. */
const PLACE: readonly Ask[] = [
  (world, draw, where) => ({
    question: `Which river flows through ${where}?`,
    answer: pick(draw, world.rivers),
  }),
  (_world, draw, where) => ({
    question: `What is ${where} known for?`,
    answer: GOODS.map((words) => pick(draw, words)).join(" "),
  }),
  (world, draw, where) => ({
    question: `Who founded ${where}?`,
    answer: `${pick(draw, world.firstNames)} ${pick(draw, world.surnames)}`,
  }),
];

/** Every question of every subject, with invented answers. */
export function makeFacts(
  world: World,
  draw: Draw,
  people: readonly string[],
  places: readonly string[],
): Fact[] {
  return [
    ...people.flatMap((who) => PERSON.map((ask) => ask(world, draw, who))),
    ...places.flatMap((where) => PLACE.map((ask) => ask(world, draw, where))),
  ];
}

/** A person's name that is none of the excluded. */
export function makePerson(world: World, draw: Draw, excluded: ReadonlySet<string>): string {
  for (;;) {
    const name = `${pick(draw, world.firstNames)} ${pick(draw, world.surnames)}`;
    if (!excluded.has(name)) return name;
  }
}

/** One question with an answer drawn at random: it teaches the form, and nothing that could be known. */
export function makeQuestion(world: World, draw: Draw, excluded: ReadonlySet<string>): Fact {
  const free = world.places.filter((place) => !excluded.has(place));
  return draw(2) === 0
    ? pick(draw, PERSON)(world, draw, makePerson(world, draw, excluded))
    : pick(draw, PLACE)(world, draw, pick(draw, free));
}

type Sentence = (world: World, draw: Draw, who: string) => string;

const SENTENCES: readonly Sentence[] = [
  (world, draw, who) =>
    `${who} ${pick(draw, STORY.verbs)} ${pick(draw, world.places)} ${pick(draw, STORY.times)}.`,
  (_w, draw, who) =>
    `${who} kept a ${pick(draw, STORY.colours)} ${pick(draw, STORY.animals)} near the house.`,
  (_w, draw, who) =>
    `${who} was ${pick(draw, STORY.moods)} because there was ${pick(draw, STORY.weathers)} all day.`,
  (_w, draw, who) => `For supper ${who} had ${pick(draw, STORY.foods)} and ${pick(draw, STORY.foods)}.`,
  (world, draw) => `The road to ${pick(draw, world.places)} follows the river ${pick(draw, world.rivers)}.`,
  (_w, draw, who) =>
    `Every ${pick(draw, STORY.seasons)} ${who} played the ${pick(draw, INSTRUMENTS)} at the market.`,
  (_w, draw, who) => `A ${pick(draw, PROFESSIONS)} asked ${who} for help ${pick(draw, STORY.times)}.`,
  (_w, draw) =>
    `The ${pick(draw, STORY.colours)} ${pick(draw, STORY.animals)} slept in the ${
      pick(draw, STORY.weathers)
    }.`,
  (_w, draw, who) =>
    `"I am ${pick(draw, STORY.moods)}," said ${who}, "and I want some ${pick(draw, STORY.foods)}."`,
  (world, draw) =>
    `In ${pick(draw, STORY.seasons)} the people of ${pick(draw, world.places)} sell ${
      GOODS.map((words) => pick(draw, words)).join(" ")
    }.`,
];

/** A story of four to seven sentences about one person. */
export function makeStory(world: World, draw: Draw, excluded: ReadonlySet<string>): string {
  const who = makePerson(world, draw, excluded);
  const first = who.split(" ")[0] as string;
  return Array.from(
    { length: 4 + draw(4) },
    (_, i) => pick(draw, SENTENCES)(world, draw, i === 0 ? who : first),
  ).join(" ");
}

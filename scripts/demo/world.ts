// SPDX-License-Identifier: Apache-2.0
/** An invented world: names of people, places and rivers, and what people do there. Everything follows from one seed. */

/** Draws an integer in [0, n). */
export type Draw = (n: number) => number;

/** One of the items. */
export function pick<T>(draw: Draw, items: readonly T[]): T {
  return items[draw(items.length)] as T;
}

/** Lists that texts and facts draw from. */
export interface World {
  readonly firstNames: readonly string[];
  readonly surnames: readonly string[];
  readonly places: readonly string[];
  readonly rivers: readonly string[];
}

const ONSETS = "b br c d dr f g gr h j k l m n p pr r s st t tr v w z".split(" ");
const VOWELS = "a e i o u ai ea ei ia io oa".split(" ");
const CODAS = " n l r s m nd th rk lt x".split(" ");
const PLACE_ENDINGS = "vel mere ford stead holm wick dale moor crest haven".split(" ");
const RIVER_ENDINGS = "een osk ira umber ale ith".split(" ");

const syllable = (draw: Draw) => pick(draw, ONSETS) + pick(draw, VOWELS);
const capital = (word: string) => (word[0] as string).toUpperCase() + word.slice(1);

function distinct(count: number, make: () => string): string[] {
  const found = new Set<string>();
  while (found.size < count) found.add(make());
  return [...found];
}

/** Makes the world's names. */
export function makeWorld(draw: Draw): World {
  return {
    firstNames: distinct(
      120,
      () => capital(syllable(draw) + syllable(draw) + pick(draw, ["", "", "n", "s", "l"])),
    ),
    surnames: distinct(
      200,
      () => capital(syllable(draw) + pick(draw, CODAS) + pick(draw, ["o", "en", "er", "an", "ik"])),
    ),
    places: distinct(240, () => capital(syllable(draw) + pick(draw, PLACE_ENDINGS))),
    rivers: distinct(90, () => capital(syllable(draw) + pick(draw, RIVER_ENDINGS))),
  };
}

/** What people do for a living. */
export const PROFESSIONS =
  `potter weaver baker miller sailor tailor carpenter mason farmer fisher gardener teacher doctor painter printer
  hatter glazier saddler brewer cooper tanner thatcher shepherd beekeeper locksmith clockmaker bookbinder candlemaker
  stonecutter boatbuilder mapmaker lampmaker ropemaker papermaker toymaker goldsmith silversmith blacksmith coppersmith
  innkeeper ferryman lighthouse-keeper librarian astronomer chemist surveyor engraver sculptor dancer singer poet actor
  judge clerk banker merchant porter courier barber cook`.split(/\s+/);

/** What people play. */
export const INSTRUMENTS =
  `violin viola cello flute oboe clarinet bassoon trumpet trombone tuba horn harp lute guitar mandolin banjo zither
  dulcimer piano organ accordion concertina bagpipe drum cymbal gong xylophone tambourine whistle ocarina fiddle sitar
  lyre recorder cornet bugle`.split(/\s+/);

/** What places make, as adjective and noun. */
export const GOODS: readonly (readonly string[])[] = [
  "blue green red white black golden silver striped painted carved woven smoked salted dried sweet bitter"
    .split(" "),
  "glass pottery carpets cheese honey wine bread apples pears ribbons baskets clocks bells knives paper candles"
    .split(" "),
];

/** What people eat, keep and do, for stories. */
export const STORY = {
  foods: "bread soup cheese plums fish porridge honey onions beans pie apples dumplings".split(" "),
  animals: "cat dog goat hen horse donkey sheep goose rabbit raven".split(" "),
  colours: "grey white black brown red spotted golden small old young".split(" "),
  seasons: "spring summer autumn winter".split(" "),
  weathers: "rain snow wind fog sunshine frost hail thunder".split(" "),
  times: ["in the morning", "at noon", "in the evening", "late at night", "before dawn", "after supper"],
  verbs: [
    "walked to",
    "rode to",
    "wrote a letter to a friend in",
    "sailed to",
    "moved to",
    "dreamed of",
    "sang about",
  ],
  moods: "glad tired proud hungry quiet curious angry calm lonely merry".split(" "),
} as const;

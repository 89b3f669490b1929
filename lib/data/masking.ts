// SPDX-License-Identifier: Apache-2.0
/**
 * Tokens that a masked language model is asked for (Devlin et al., 2019): 15 % of an example's, of which 80 % are masked, 10 %
 * replaced by any token and 10 % left as they are. Which ones is a function of seed, epoch, example and place alone, so that a
 * run that goes on asks for the same.
 */
import { philox4x32 } from "../core/rng.ts";

/** How examples are masked. */
export interface Masking {
  /** Id of the mask. */
  readonly maskId: number;
  /** Ids below this one may stand in the place of a token. */
  readonly vocabSize: number;
}

/** What masks are drawn by. */
export interface MaskDraw {
  readonly seed: number;
  readonly epoch: number;
}

/** The masks of an evaluation: the same each time, and those of no epoch. */
export const EVALUATION_DRAW: MaskDraw = { seed: 0, epoch: 2 ** 32 - 1 };

const WORDS = 2 ** 32;
const ASKED = 0.15 * WORDS;
const MASKED = 0.8 * WORDS;
const REPLACED = 0.9 * WORDS;
/** Tells these random numbers from others of a seed. */
const STREAM = 0x6d61736b;

/** An example of n tokens, some of them asked for. */
export interface MaskedExample {
  /** (n) int32: what the model sees. */
  readonly ids: Int32Array;
  /** (n) int32: the token that is asked for, or -1. */
  readonly targets: Int32Array;
}

/**
 * Masks an example. One token at least is asked for where any may be.
 *
 * @param ids (n)     @param maskable (n): 1 where a token may be asked for     @param example Its number in the data set
 */
export function maskExample(
  { maskId, vocabSize }: Masking,
  { seed, epoch }: MaskDraw,
  example: number,
  ids: Int32Array,
  maskable: Uint8Array,
): MaskedExample {
  const words = Array.from(ids, (_, place) => philox4x32([seed, epoch], [example, place, STREAM, 0]));
  const least = words.reduce<number>((best, [word], place) => {
    if (maskable[place] !== 1) return best;
    return best < 0 || word < (words[best]?.[0] ?? WORDS) ? place : best;
  }, -1);
  const [seen, targets] = [ids.slice(), new Int32Array(ids.length).fill(-1)];
  words.forEach(([asked, way, other], place) => {
    if (maskable[place] !== 1 || (asked >= ASKED && place !== least)) return;
    targets[place] = ids[place] as number;
    if (way < MASKED) seen[place] = maskId;
    else if (way < REPLACED) seen[place] = Math.floor(other / WORDS * vocabSize);
  });
  return { ids: seen, targets };
}

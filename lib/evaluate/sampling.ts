// SPDX-License-Identifier: Apache-2.0
/** Choosing the next token from its logits. */
import { NotFiniteError } from "../core/errors.ts";
import { withDefaults } from "../core/option_checks.ts";
import { number, type OptionsOf } from "../core/options.ts";
import { categorical, nextUniform, type RandomStream } from "../core/rng.ts";
import type { Floats } from "../tensor/tensor.ts";

/** How a token is chosen. */
export const SAMPLING_OPTIONS = {
  /** 0 takes the likeliest token; higher values even the odds out. Default 0. */
  temperature: number({ min: 0, default: 0, help: "0 takes the likeliest token" }),
  /** Draws only from the likeliest tokens that make up this share of the probability. Default 1. */
  topP: number({
    min: 0,
    above: true,
    max: 1,
    default: 1,
    help: "draw only from the likeliest tokens of this share",
  }),
} as const;

/** How a token is chosen. */
export type SamplingOptions = OptionsOf<typeof SAMPLING_OPTIONS>;

/**
 * The next token. Greedy choice takes the lowest of equal ids.
 *
 * Sampling: p = softmax(logits / temperature) in f64; with topP < 1 the tokens are sorted by p (equal ones by id), and
 * the shortest beginning of that list with a sum of at least topP is drawn from.
 *
 * @param logits (V)
 * @mutates random: one draw, unless greedy
 * @throws {NotFiniteError} When a logit is not finite
 */
export function chooseToken(logits: Floats, options: SamplingOptions, random: RandomStream): number {
  checkFinite(logits);
  return chooseScored(logits, options, random);
}

/** The same of logits that were found finite, and of which some may then have been ruled out with -Infinity. @mutates random */
export function chooseScored(logits: Floats, options: SamplingOptions, random: RandomStream): number {
  const best = argmax(logits);
  const { temperature, topP } = withDefaults(SAMPLING_OPTIONS, options);
  if (temperature === 0) return best;
  const peak = logits[best] as number;
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - peak) / temperature));
  const uniform = nextUniform(random);
  if (topP === 1) return categorical(weights, uniform);
  const nucleus = topTokens(weights, topP);
  return nucleus[categorical(nucleus.map((id) => weights[id] as number), uniform)] as number;
}

/** @throws {NotFiniteError} When a logit is not finite */
export function checkFinite(logits: Floats): void {
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id] as number;
    if (!Number.isFinite(logit)) throw new NotFiniteError(`The logit of token ${id} is ${logit}`);
  }
}

function argmax(logits: Floats): number {
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    if ((logits[id] as number) > (logits[best] as number)) best = id;
  }
  return best;
}

/** Ids of the nucleus, likeliest first. */
function topTokens(weights: Float64Array, topP: number): number[] {
  let total = 0;
  for (const weight of weights) total += weight;
  // All tokens below this together have less than 1 - topP, so none of them is needed: spares sorting the vocabulary.
  const floor = (1 - topP) * total / weights.length;
  const ids: number[] = [];
  weights.forEach((weight, id) => {
    if (weight >= floor) ids.push(id);
  });
  ids.sort((a, b) => (weights[b] as number) - (weights[a] as number) || a - b);
  let sum = 0;
  const count = ids.findIndex((id) => (sum += weights[id] as number) >= topP * total);
  return count < 0 ? ids : ids.slice(0, count + 1);
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Beam search for one prompt, a token further at a time, as transformers 5.24 has it: which beams go on, which have ended, and
 * when no beam can do better. Of equal sums the beam that stood first comes first, then the lower token id.
 */
import { choice, integer, number, type OptionsOf } from "../core/options.ts";
import type { Floats } from "../tensor/tensor.ts";

/** How a search is made. */
export const BEAM_OPTIONS = {
  /** Answers that are followed at once; 1 follows the one that is being made. Default 1. */
  beams: integer({
    min: 1,
    max: 1024,
    default: 1,
    help: "beams of the search; 1 takes one token after the other",
  }),
  /** An ended answer's log-likelihood is divided by its length to this power: above 0 favours longer ones. Default 1. */
  lengthPenalty: number({
    min: -100,
    max: 100,
    default: 1,
    help: "of beams: above 0 favours long answers, below 0 short ones",
  }),
  /**
   * "on" ends with as many ended answers as there are beams; "off" when the best beam is worse than all of them at its present
   * length; "never" when it is so at any length it may have. Default "off".
   */
  earlyStopping: choice(["off", "on", "never"], {
    default: "off",
    help:
      "of beams: ends with as many answers as beams (on), or when no beam is likely to (off) or could (never) do better",
  }),
} as const;

/** How a search is made, all of it. */
export type BeamOptions = Required<OptionsOf<typeof BEAM_OPTIONS>>;

/** An answer that goes on. */
export interface Beam {
  /** Its tokens so far. */
  readonly ids: readonly number[];
  /** Log-likelihood of them, in nats, under the rules of the search. */
  readonly sum: number;
  /** Which of the running beams it continues. */
  readonly from: number;
}

/** An answer that has ended. */
export interface Hypothesis {
  readonly ids: readonly number[];
  /** Log-likelihood over length to the power of the penalty. */
  readonly score: number;
}

/** A search under way. */
export interface BeamSearch {
  /** The best first. */
  readonly running: readonly Beam[];
  /** The best first, as many as beams at most. */
  readonly ended: readonly Hypothesis[];
  readonly done: boolean;
}

/** The search before its first token. */
export const SEARCH_START: BeamSearch = {
  running: [{ ids: [], sum: 0, from: 0 }],
  ended: [],
  done: false,
};

/** What a step goes by. */
export interface SearchStep extends BeamOptions {
  /** Tokens an answer may have. */
  readonly maxLength: number;
  /** Token ids that end an answer: so many times the beams, and the beams once more, are looked at. */
  readonly stopIds: number;
  /** Whether an answer ends with its last token. */
  ends(ids: readonly number[]): boolean;
}

/**
 * A token further.
 *
 * @param scores Of each running beam (V): log-probabilities of what may follow it; -Infinity for what may not
 */
export function advance(search: BeamSearch, scores: readonly Float64Array[], step: SearchStep): BeamSearch {
  const { beams, lengthPenalty, earlyStopping } = step;
  const candidates = best(search.running, scores, Math.max(2, 1 + step.stopIds) * beams);
  const length = 1 + (search.running[0]?.ids.length ?? 0);
  const running: Beam[] = [];
  const ended: Hypothesis[] = [...search.ended];
  candidates.forEach((candidate, rank) => {
    if (!step.ends(candidate.ids)) {
      if (running.length < beams) running.push(candidate);
    } else if (rank < beams) {
      ended.push({ ids: candidate.ids, score: candidate.sum / length ** lengthPenalty });
    }
  });
  // Nothing may follow: what there is has ended.
  if (candidates.length === 0) {
    ended.push(...search.running.map(({ ids, sum }) => ({
      ids,
      score: sum / Math.max(1, ids.length) ** lengthPenalty,
    })));
  }
  ended.sort((a, b) => b.score - a.score);
  ended.splice(beams);
  const full = ended.length === beams;
  const bestLength = earlyStopping === "never" && lengthPenalty > 0 ? step.maxLength : length;
  const worst = full ? (ended[beams - 1] as Hypothesis).score : -Infinity;
  const hopeful = running.length > 0 && (running[0] as Beam).sum / bestLength ** lengthPenalty > worst;
  return { running, ended, done: !hopeful || (full && earlyStopping === "on") };
}

/** A token behind a beam, with the sum that it makes. */
interface Continuation {
  readonly from: number;
  readonly id: number;
  readonly sum: number;
}

/** The `count` best continuations that there are, best first. */
function best(running: readonly Beam[], scores: readonly Float64Array[], count: number): Beam[] {
  const found: Continuation[] = [];
  running.forEach(({ sum: before }, from) => {
    const row = scores[from] as Float64Array;
    for (let id = 0; id < row.length; id++) {
      const sum = before + (row[id] as number);
      if (sum === -Infinity || (found.length === count && sum <= (found[count - 1] as Continuation).sum)) {
        continue;
      }
      let place = found.length;
      while (place > 0 && sum > (found[place - 1] as Continuation).sum) place--;
      found.splice(place, 0, { from, id, sum });
      if (found.length > count) found.pop();
    }
  });
  return found.map(({ from, id, sum }) => ({ ids: [...(running[from] as Beam).ids, id], sum, from }));
}

/** Log-probabilities of logits (V). */
export function logSoftmax(logits: Floats): Float64Array {
  const row = new Float64Array(logits);
  let peak = -Infinity;
  for (const logit of row) if (logit > peak) peak = logit;
  let sum = 0;
  for (const logit of row) sum += Math.exp(logit - peak);
  const log = Math.log(sum);
  return row.map((logit) => logit - peak - log);
}

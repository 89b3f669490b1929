// SPDX-License-Identifier: Apache-2.0
/** Contract cases of mixture-of-experts: choices with ties, rows brought together and back, and their gradients. */
import type { ExpertChoice } from "../../../lib/ops/kernels/experts.ts";
import { groupByExpert } from "../../../lib/ops/experts.ts";
import { absolute, type KernelCase, onAbsoluteInputs, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import type { Floats } from "../../../lib/tensor/tensor.ts";
import { assertSameBits } from "../../compare.ts";
import { now } from "../../now.ts";
import { type Storage, STORAGES } from "./storage.ts";

/** Tokens, experts, how many of them each takes, and how wide a row is. */
const SIZES = [
  [0, 4, 2, 3],
  [1, 1, 1, 1],
  [3, 4, 4, 5],
  [5, 8, 2, 16],
  [7, 60, 4, 33],
  [67, 9, 3, 130],
  [9, 128, 8, 257],
] as const;
type Size = typeof SIZES[number];

const choiceOf = ([, experts, active]: Size, normalised = true): ExpertChoice => ({
  experts,
  active,
  normalised,
});

/** Logits of which some are equal: halves. */
function logitsOf(stage: Stage, [tokens, experts]: Size) {
  const drawn = now(stage.k.read(stage.normal("logits", tokens * experts, 2)));
  return stage.values(Array.from(drawn, (x) => Math.round(2 * x) / 2));
}

/** Choices of some logits, the same on every stage. */
function chosenOf(size: Size): Int32Array {
  const [tokens, experts, active] = size;
  const chosen = new Int32Array(tokens * active);
  for (let t = 0; t < tokens; t++) {
    const own = Int32Array.from({ length: active }, (_, k) => (t * 5 + k * 3) % experts);
    // Where steps of three meet themselves, the first ones.
    chosen.set(new Set(own).size === active ? own.sort() : own.map((_, k) => k), t * active);
  }
  return chosen;
}

function choose(stage: Stage, size: Size, normalised: boolean): Outputs {
  const [tokens, , active] = size;
  const [weights, chosen] = [stage.output(tokens * active), stage.intOutput(tokens * active)];
  stage.k.expertsChoose(weights, chosen, logitsOf(stage, size), choiceOf(size, normalised));
  return { weights, chosen };
}

/** Of a choice that these logits would not make. */
function weights(stage: Stage, size: Size, normalised: boolean): Outputs {
  const [tokens, , active] = size;
  const weights = stage.output(tokens * active);
  stage.k.expertsWeights(weights, chosenOf(size), logitsOf(stage, size), choiceOf(size, normalised));
  return { weights };
}

/** Of the choice that these logits make, the very bits. */
function assertChosenWeights(stage: Stage, size: Size, normalised: boolean): void {
  const { weights: wanted, chosen } = choose(stage, size, normalised);
  const found = stage.output(wanted!.length);
  const logits = logitsOf(stage, size);
  stage.k.expertsWeights(found, chosen as Int32Array, logits, choiceOf(size, normalised));
  assertSameBits("weights", now(stage.k.read(found)), now(stage.k.read(wanted as Floats)));
}

function chooseBackward(stage: Stage, size: Size, normalised: boolean): Outputs {
  const [tokens, experts, active] = size;
  const dlogits = stage.output(tokens * experts);
  const dweights = stage.normal("dweights", tokens * active);
  const choice = choiceOf(size, normalised);
  stage.k.expertsChooseBackward(dlogits, dweights, logitsOf(stage, size), chosenOf(size), choice);
  return { dlogits };
}

/** p |dw| + p sum of w |dw|, of the chosen and of all. */
function chooseBackwardMagnitudes(stage: Stage, size: Size, normalised: boolean): Outputs {
  const [tokens, experts, active] = size;
  const dweights = absolute(now(stage.k.read(stage.normal("dweights", tokens * active))));
  const chosen = chosenOf(size);
  const logits = now(stage.k.read(logitsOf(stage, size)));
  const dlogits = new Float64Array(tokens * experts);
  for (let t = 0; t < tokens; t++) {
    const row = Array.from(logits.subarray(t * experts, (t + 1) * experts), Math.exp);
    const own = chosen.subarray(t * active, (t + 1) * active);
    const all = normalised ? Array.from(own, (e) => row[e] as number) : row;
    const total = all.reduce((sum, x) => sum + x, 0);
    const slope = (k: number) => dweights[t * active + k] as number;
    const mean = own.reduce((sum, e, k) => sum + (row[e] as number) / total * slope(k), 0);
    row.forEach((x, e) => {
      const k = own.indexOf(e);
      dlogits[t * experts + e] = x / total * ((k >= 0 ? slope(k) : 0) + mean);
    });
  }
  return { dlogits };
}

function gather(stage: Stage, size: Size, from: Storage, to: Storage): Outputs {
  const [tokens, , active, width] = size;
  const { tokens: rows } = groupByExpert(chosenOf(size), choiceOf(size));
  const y = to.output(stage, tokens * active * width);
  stage.k.expertsGather(y, from.input(stage, "x", tokens * width), rows, width);
  return { y };
}

function combine(
  stage: Stage,
  size: Size,
  storage: Storage,
  weighted: boolean,
  accumulate: boolean,
): Outputs {
  const [tokens, , active, width] = size;
  const { places } = groupByExpert(chosenOf(size), choiceOf(size));
  const y = accumulate ? stage.normal("y", tokens * width) : stage.output(tokens * width);
  const x = storage.input(stage, "x", tokens * active * width);
  const weights = weighted ? stage.normal("weights", tokens * active) : null;
  stage.k.expertsCombine(y, x, places, weights, active, width, accumulate);
  return { y };
}

function weighBackward(stage: Stage, size: Size, storage: Storage, inPlace: boolean): Outputs {
  const [tokens, , active, width] = size;
  const { slots } = groupByExpert(chosenOf(size), choiceOf(size));
  const count = tokens * active * width;
  const [dy, x] = [storage.input(stage, "dy", count), storage.input(stage, "x", count)];
  const [dx, dweights] = [inPlace ? dy : storage.output(stage, count), stage.output(tokens * active)];
  stage.k.expertsWeighBackward(dx, dweights, dy, x, slots, stage.normal("weights", tokens * active), width);
  return { dx, dweights };
}

const sums = (name: string, run: KernelCase["run"]): KernelCase => ({
  name,
  run,
  magnitudes: onAbsoluteInputs(run),
});

/** Cases of this family. */
export const expertCases: readonly KernelCase[] = [
  ...SIZES.flatMap((size): KernelCase[] => {
    const label = `of (T,N,K,D) = (${size})`;
    return [
      ...[false, true].flatMap((normalised): KernelCase[] => [
        {
          name: `expertsChoose() ${label}${normalised ? ", normalised" : ""}`,
          run: (stage) => choose(stage, size, normalised),
          magnitudes: (_, { weights }) => ({ weights: absolute(weights!) }),
          multiple: 8, // an exponential, a sum and two quotients
        },
        {
          name: `expertsWeights() ${label}${normalised ? ", normalised" : ""}`,
          run: (stage) => {
            assertChosenWeights(stage, size, normalised);
            return weights(stage, size, normalised);
          },
          magnitudes: (_, { weights }) => ({ weights: absolute(weights!) }),
          multiple: 8,
        },
        {
          name: `expertsChooseBackward() ${label}${normalised ? ", normalised" : ""}`,
          run: (stage) => chooseBackward(stage, size, normalised),
          magnitudes: (stage) => chooseBackwardMagnitudes(stage, size, normalised),
          multiple: 12, // products of such weights
        },
      ]),
      ...STORAGES.flatMap((storage) => [
        ...STORAGES.map((to): KernelCase => ({
          name: `expertsGather() ${label}, ${storage.label} to ${to.label}`,
          run: (stage) => gather(stage, size, storage, to),
        })),
        ...[false, true].flatMap((weighted) =>
          [false, true].map((accumulate) =>
            sums(
              `expertsCombine() ${label}, ${storage.label}${weighted ? ", weighted" : ""} ${
                accumulate ? "accumulates" : "writes"
              }`,
              (stage) => combine(stage, size, storage, weighted, accumulate),
            )
          )
        ),
        ...[false, true].map((inPlace) =>
          sums(
            `expertsWeighBackward() ${label}, ${storage.label}${inPlace ? " in place" : ""}`,
            (stage) => weighBackward(stage, size, storage, inPlace),
          )
        ),
      ]),
    ];
  }),
  {
    name: "expertsChoose() of NaN and of equal logits: weights of NaN, the first experts",
    run(stage) {
      const [weights, chosen] = [stage.output(4), stage.intOutput(4)];
      const logits = stage.values([1, NaN, 2, 0, 3, 3, 3, 3]);
      stage.k.expertsChoose(weights, chosen, logits, { experts: 4, active: 2, normalised: true });
      // Which experts stand beside a NaN says nothing.
      return { weights, ties: chosen.subarray(2) };
    },
  },
];

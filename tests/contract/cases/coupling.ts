// SPDX-License-Identifier: Apache-2.0
/** Contract cases of streams in fixed point: every bit is the oracle's. */
import { nextWord, randomStream } from "../../../lib/core/rng.ts";
import { droppedWords } from "../../../lib/ops/kernels/coupling.ts";
import { assertSame } from "../../compare.ts";
import { now } from "../../now.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { outputMagnitudes } from "./storage.ts";

/** Around a vector, a row of 16, a group of 512, and what a thread takes at a time. */
const COUNTS = [0, 1, 7, 15, 17, 511, 512, 513, 1009, 8192 + 33];
const SHIFTS = [0, 1, 3, 5, 7, 8, 15];
const [LEAST, MOST] = [-(2 ** 31), 2 ** 31 - 1];

/** Any int32, the ends and what stands around 0 among them. */
function wordsOf(count: number): Int32Array {
  const random = randomStream(7, 3);
  const first = [0, 1, -1, MOST, LEAST, MOST - 1, LEAST + 1, 2 ** 30, -(2 ** 30), 5, -5, 8, -8];
  return Int32Array.from({ length: count }, (_, i) => first[i] ?? nextWord(random) | 0);
}

/** Values of a stream that has a long way to its ends. */
function calmOf(count: number): Int32Array {
  return wordsOf(count).map((word) => word >> 6);
}

/** What is added, in units of 2^-fraction: ties among it, and much that no stream holds. */
function addedTo(stage: Stage, count: number, fraction: number): Float32Array {
  const unit = 2 ** -fraction;
  const drawn = now(stage.k.read(stage.normal("f", count, 2 ** 14 * unit)));
  const first = [
    0.5,
    1.5,
    2.5,
    -0.5,
    -1.5,
    -2.5,
    0.49999997,
    -0.50000006,
    2 ** 23 + 1,
    2 ** 22 + 0.5,
    -(2 ** 22) - 0.5,
  ];
  return Float32Array.from(
    drawn,
    (value, i) => i % 29 < first.length ? (first[i % 29] as number) * unit : value,
  );
}

/** In units: values that no stream holds, and values that one does. */
const MISFITS = [Infinity, -Infinity, 3.4e38, -3.4e38, 2 ** 31, -(2 ** 31), 2 ** 31 - 128, 2 ** 31 - 2 ** 10];
const FITTING = [2 ** 31 - 2 ** 10 - 128, -(2 ** 31) + 2 ** 10 + 128, 2 ** 30, 1e-45, -1e-45, 0, -0];
const EXTREMES = [NaN, ...MISFITS, ...FITTING];

/** The account of a call: the count as a whole number, and the magnitude. */
function outputsOf(stage: Stage, account: ReturnType<Stage["values"]>, outputs: Outputs): Outputs {
  const [misfits = 0, largest = 0] = now(stage.k.read(account));
  return { ...outputs, misfits: Int32Array.of(misfits), largest: stage.values([largest]) };
}

/** A coupling, its inverse, and whether that gave back what was there. */
function thereAndBack(
  stage: Stage,
  words: Int32Array,
  added: Float32Array,
  shift: number,
  { fraction = 12, inPlace = false, viewed = true } = {},
): Outputs {
  const count = words.length;
  const x = stage.integers(words);
  const [y, back] = inPlace ? [x, x] : [stage.integerOutput(count), stage.integerOutput(count)];
  const dropped = shift === 0 ? null : stage.integerOutput(droppedWords(count, shift));
  const [f, again, account] = [stage.values(added), stage.values(added), stage.values([0, 0])];
  const view = viewed ? inPlace ? f : stage.output(count) : null;
  stage.k.couple(y, dropped, view, x, f, { fraction, shift }, account);
  const coupled = now(stage.k.read(y)).slice();
  stage.k.uncouple(back, y, dropped, again, { fraction, shift });
  assertSame(now(stage.k.read(back)).slice(), words, "what comes back");
  return outputsOf(stage, account, {
    coupled,
    ...dropped && { dropped },
    ...view && { view },
  });
}

function toAndFrom(stage: Stage, values: ArrayLike<number>, fraction: number): Outputs {
  const [s, x] = [stage.integerOutput(values.length), stage.output(values.length)];
  const account = stage.values([0, 0]);
  stage.k.fixedFromFloats(s, stage.values(values), fraction, account);
  stage.k.floatsFromFixed(x, s, fraction);
  return outputsOf(stage, account, { s, x });
}

/** Rounded once: within half a unit in the last place of themselves. */
const rounded = (name: string, run: KernelCase["run"]): KernelCase => ({
  ...{ name, run, multiple: 0.5 },
  magnitudes(stage, oracle) {
    const { view, x, largest } = outputMagnitudes(stage, oracle);
    return { ...view && { view }, ...x && { x }, ...largest && { largest } };
  },
});

/** Cases of this family. */
export const couplingCases: readonly KernelCase[] = [
  ...COUNTS.flatMap((count): KernelCase[] => [
    ...SHIFTS.map((shift) =>
      rounded(
        `couple() and uncouple() of ${count} elements, ${shift} bits dropped`,
        (stage) => thereAndBack(stage, calmOf(count), addedTo(stage, count, 12), shift),
      )
    ),
    rounded(
      `couple() and uncouple() of ${count} elements in place`,
      (stage) => thereAndBack(stage, wordsOf(count), addedTo(stage, count, 12), 3, { inPlace: true }),
    ),
    rounded(
      `couple() and uncouple() of ${count} elements without floats`,
      (stage) =>
        thereAndBack(stage, wordsOf(count), addedTo(stage, count, 0), 7, { fraction: 0, viewed: false }),
    ),
    rounded(
      `fixedFromFloats() and floatsFromFixed() of ${count} elements`,
      (stage) => toAndFrom(stage, addedTo(stage, count, 16), 16),
    ),
    {
      name: `scaledAdd() of ${count} elements`,
      run(stage) {
        const y = stage.normal("y", count);
        stage.k.scaledAdd(y, -0.3, stage.normal("x", count));
        return { y };
      },
      magnitudes(stage) {
        const [y, x] = [absolute(stage.normal("y", count)), absolute(stage.normal("x", count))];
        return { y: y.map((magnitude, i) => 0.4 * magnitude + (x[i] as number)) };
      },
    },
  ]),
  ...[0, 12, 30].flatMap((fraction): KernelCase[] => {
    const scaled = (values: readonly number[]) =>
      Float32Array.from(values, (value) => value * 2 ** -fraction);
    const words = wordsOf(EXTREMES.length);
    return [
      rounded(
        `couple() and uncouple() of all that no stream of ${fraction} fractional bits holds`,
        (stage) => thereAndBack(stage, words, scaled(EXTREMES), 1, { fraction }),
      ),
      ...Object.entries({ NaN: [1, NaN], "what is too much": MISFITS, "what is just little enough": FITTING })
        .map(
          ([label, values]) =>
            rounded(
              `fixedFromFloats() of ${label} for ${fraction} fractional bits`,
              (stage) => toAndFrom(stage, scaled(values), fraction),
            ),
        ),
    ];
  }),
  {
    name: "couplings account for all calls together",
    run(stage) {
      const account = stage.values([0, 0]);
      const s = stage.integerOutput(3);
      const enter = (values: readonly number[]) =>
        stage.k.fixedFromFloats(s, stage.values(values), 0, account);
      [[1, -7, 3], [2 ** 31, 2, 2 ** 31], [5, 5, 5]].forEach(enter);
      const before = outputsOf(stage, account, {});
      [[NaN, 2, 3], [4, 5, 6]].forEach(enter);
      const after = now(stage.k.read(account));
      return { ...before, later: Int32Array.of(after[0] as number, Number(Number.isNaN(after[1]))) };
    },
  },
];

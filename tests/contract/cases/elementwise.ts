// SPDX-License-Identifier: Apache-2.0
/** Contract cases of rotary embedding, sums, copies and random numbers. */
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import type { Stage } from "../stage.ts";
import { now } from "../../now.ts";
import { outputMagnitudes, type Storage, STORAGES } from "./storage.ts";

const COUNTS = [0, 1, 3, 15, 16, 17, 1009];
/** Kernels that return a number give it as an array of one. */
const number = (x: number): Float64Array => Float64Array.of(x);

/** The first place is no multiple of a block's four, and lies beyond 32 bits. */
function dropped(stage: Stage, count: number, accumulate: boolean, from: Storage, to: Storage): Outputs {
  const y = accumulate ? to.input(stage, "y", count) : to.output(stage, count);
  const mask = { seed: 0xfedcba98, stream: 5, part: 9, first: 2 ** 34 + 3, probability: 0.3 };
  stage.k.dropout(y, from.input(stage, "x", count), mask, accumulate);
  return { y };
}

const POSITIONS = Int32Array.of(4, 0, 0, 2, 3);

/** Heads, and how many of each turn. */
interface Heads {
  readonly heads: number;
  readonly headDim: number;
  readonly rotaryDim: number;
}

function rotary(
  stage: Stage,
  { heads, headDim, rotaryDim }: Heads,
  inverse: boolean,
  storage: Storage,
): Outputs {
  const x = storage.input(stage, "x", POSITIONS.length * heads * headDim);
  const [cos, sin] = [stage.normal("cos", 5 * rotaryDim / 2), stage.normal("sin", 5 * rotaryDim / 2)];
  stage.k.ropeApply(x, cos, sin, POSITIONS, heads, headDim, rotaryDim, inverse);
  return { x };
}

/** |a cos| + |b sin| and |b cos| + |a sin|: the sums without cancellation. What does not turn is exact. */
function rotaryMagnitudes(stage: Stage, { heads, headDim, rotaryDim }: Heads): Outputs {
  const half = rotaryDim / 2;
  const x = absolute(stage.normal("x", POSITIONS.length * heads * headDim));
  const [cos, sin] = [absolute(stage.normal("cos", 5 * half)), absolute(stage.normal("sin", 5 * half))];
  return {
    x: x.map((value, i) => {
      const inHead = i % headDim;
      if (inHead >= rotaryDim) return 0;
      const row = (POSITIONS[Math.floor(i / (heads * headDim))] as number) * half + inHead % half;
      const other = x[inHead < half ? i + half : i - half] as number;
      return value * (cos[row] as number) + other * (sin[row] as number);
    }),
  };
}

/** Kernels on activations, of either storage. */
function perStorage(count: number, storage: Storage): KernelCase[] {
  const label = `of ${count} ${storage.label}`;
  return [
    {
      name: `add() ${label}`,
      run(stage) {
        const y = storage.input(stage, "y", count);
        stage.k.add(y, storage.input(stage, "x", count));
        return { y };
      },
      magnitudes: outputMagnitudes,
    },
    {
      name: `copy(), zero() and read() ${label}`,
      run(stage) {
        const [x, copied] = [storage.input(stage, "x", count), storage.output(stage, count)];
        const zeros = storage.input(stage, "z", count);
        stage.k.copy(copied, x);
        stage.k.zero(zeros);
        return { copied, zeros, read: now(stage.k.read(x)) };
      },
    },
    ...[false, true].flatMap((accumulate) =>
      STORAGES.map((to): KernelCase => ({
        name: `dropout() ${label} ${accumulate ? "accumulates" : "writes"} ${to.label}`,
        run: (stage) => dropped(stage, count, accumulate, storage, to),
        magnitudes: (stage) => {
          const [x, y] = [absolute(stage.normal("x", count)), absolute(stage.normal("y", count))];
          return { y: x.map((magnitude, i) => 2 * magnitude + (y[i] as number)) };
        },
      }))
    ),
  ];
}

function perCount(count: number): KernelCase[] {
  return [
    ...STORAGES.flatMap((storage) => perStorage(count, storage)),
    {
      name: `scale() of ${count} elements`,
      run(stage) {
        const x = stage.normal("x", count);
        stage.k.scale(x, -0.5);
        return { x };
      },
    },
    {
      name: `sumSquares() of ${count} elements`,
      run: (stage) => ({ sum: number(now(stage.k.sumSquares(stage.normal("x", count)))) }),
      // Squares of f32 are exact in f64: only the order of an f64 sum differs.
      magnitudes: (_, oracle) => ({
        sum: (oracle.sum as Float64Array).map((sum) => sum * 2 ** -29 * count / 4),
      }),
    },
    {
      name: `randomNormal() of ${count} elements`,
      run(stage) {
        const out = stage.output(count);
        stage.k.randomNormal(out, 0xfedcba98, 3, 0.25);
        return { out };
      },
      magnitudes: outputMagnitudes,
      multiple: 1, // computed in f64 everywhere: only the last rounding differs
    },
  ];
}

/** Cases of this family. */
export const elementwiseCases: readonly KernelCase[] = [
  ...COUNTS.flatMap(perCount),
  {
    name: "sumSquares() of an infinity or NaN is not finite",
    run: (stage) => ({
      finite: Int32Array.from(
        [[1, Infinity], [NaN, 2], [1, 2]],
        (x) => Number(Number.isFinite(now(stage.k.sumSquares(stage.values(x))))),
      ),
    }),
  },
  ...([[1, 2, 2], [3, 6, 6], [2, 32, 32], [5, 34, 34], [3, 7, 4], [2, 80, 32], [4, 64, 48], [
    2,
    5,
    0,
  ]] as const)
    .flatMap(([heads, headDim, rotaryDim], i) =>
      STORAGES.map((storage): KernelCase => {
        const [shape, inverse] = [{ heads, headDim, rotaryDim }, i % 2 === 1];
        const turned = `${rotaryDim} of ${heads} heads of ${headDim}`;
        return {
          name: `ropeApply() of ${turned}, ${storage.label}${inverse ? ", inverse" : ""}`,
          run: (stage) => rotary(stage, shape, inverse, storage),
          magnitudes: (stage) => rotaryMagnitudes(stage, shape),
        };
      })
    ),
];

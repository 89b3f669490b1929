// SPDX-License-Identifier: Apache-2.0
/** Contract cases of norms, rotary embedding, activations, sums and random numbers. */
import type { NormCall } from "../../../lib/ops/kernels/model.ts";
import type { ActivationArray, Weight } from "../../../lib/tensor/tensor.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import { type Stage, weightMagnitudes } from "../stage.ts";
import { now } from "../../now.ts";

const COUNTS = [0, 1, 3, 15, 16, 17, 1009];
const ROWS = [[0, 4], [1, 1], [3, 7], [2, 16], [5, 33], [4, 130], [70, 64], [101, 37], [3, 4099]] as const;

/** Kernels that return a number give it as an array of one. */
const number = (x: number): Float64Array => Float64Array.of(x);

/** How an array of a case is stored: as floats, or as the backend stores activations. */
interface Storage {
  readonly label: string;
  input(stage: Stage, name: string, count: number, std?: number): ActivationArray;
  output(stage: Stage, count: number): ActivationArray;
}

const FLOATS: Storage = {
  label: "floats",
  input: (stage, name, count, std) => stage.normal(name, count, std),
  output: (stage, count) => stage.output(count),
};
const ACTIVATIONS: Storage = {
  label: "activations",
  input: (stage, name, count, std) => stage.activation(name, count, std),
  output: (stage, count) => stage.activationOutput(count),
};
const STORAGES = [FLOATS, ACTIVATIONS];

const EPS = 1e-5;
/** A mean square of about EPS, where dropping or moving it changes every digit. */
const FAINT = Math.sqrt(EPS);

/** A root-mean-square norm with this weight. */
function rms(weight: Weight): NormCall {
  return { kind: "rms", weight, bias: null, eps: EPS, unitOffset: false };
}

function rmsNorm(stage: Stage, rows: number, D: number, from = FLOATS, to = FLOATS, std = 1): Outputs {
  const [y, rstd] = [to.output(stage, rows * D), stage.output(rows)];
  const x = from.input(stage, "x", rows * D, std);
  stage.k.normForward(y, rstd, x, rms(stage.weight("w", 1, D, "bf16")), rows);
  return { y, rstd };
}

function rmsNormGradient(
  stage: Stage,
  rows: number,
  D: number,
  accumulate: boolean,
  storage: Storage,
  std = 1,
): Outputs {
  const x = storage.input(stage, "x", rows * D, std);
  const w = stage.weight("w", 1, D, "f16");
  const rstd = rmsNorm(stage, rows, D, FLOATS, FLOATS, std).rstd as Float64Array;
  const dx = accumulate ? storage.input(stage, "dx", rows * D) : storage.output(stage, rows * D);
  const dweight = accumulate ? stage.normal("dweight", D) : null;
  const dy = storage.input(stage, "dy", rows * D);
  stage.k.normBackward(dx, { weight: dweight, bias: null }, dy, x, rstd, rms(w), rows, accumulate);
  return dweight ? { dx, dweight } : { dx };
}

/** dx = rstd * (w*dy - n * mean(w*dy*n)) by the magnitudes of its terms. */
function rmsNormMagnitudes(stage: Stage, rows: number, D: number, accumulate: boolean, std = 1): Outputs {
  const at = (name: string, count: number, scale = 1) => absolute(stage.normal(name, count, scale));
  const [x, dy] = [at("x", rows * D, std), at("dy", rows * D)];
  const w = weightMagnitudes(stage.weight("w", 1, D, "f16"));
  const rstd = rmsNorm(stage, rows, D, FLOATS, FLOATS, std).rstd as Float64Array;
  const dx = accumulate ? at("dx", rows * D) : new Float64Array(rows * D);
  const dweight = accumulate ? at("dweight", D) : null;
  for (let t = 0; t < rows; t++) {
    const r = rstd[t] as number;
    const n = Array.from(x.subarray(t * D, (t + 1) * D), (value) => value * r);
    const wdy = n.map((_, i) => (w[i] as number) * (dy[t * D + i] as number));
    const mean = n.reduce((sum, value, i) => sum + value * (wdy[i] as number), 0) / D;
    n.forEach((value, i) => {
      dx[t * D + i] = (dx[t * D + i] as number) + r * ((wdy[i] as number) + value * mean);
      if (dweight) dweight[i] = (dweight[i] as number) + (dy[t * D + i] as number) * value;
    });
  }
  return dweight ? { dx, dweight } : { dx };
}

/** The first place is no multiple of a block's four, and lies beyond 32 bits. */
function dropped(stage: Stage, count: number, accumulate: boolean, from: Storage, to: Storage): Outputs {
  const y = accumulate ? to.input(stage, "y", count) : to.output(stage, count);
  const mask = { seed: 0xfedcba98, stream: 5, part: 9, first: 2 ** 34 + 3, probability: 0.3 };
  stage.k.dropout(y, from.input(stage, "x", count), mask, accumulate);
  return { y };
}

const POSITIONS = Int32Array.of(4, 0, 0, 2, 3);

function rotary(stage: Stage, heads: number, headDim: number, inverse: boolean, storage: Storage): Outputs {
  const x = storage.input(stage, "x", POSITIONS.length * heads * headDim);
  const [cos, sin] = [stage.normal("cos", 5 * headDim / 2), stage.normal("sin", 5 * headDim / 2)];
  stage.k.ropeApply(x, cos, sin, POSITIONS, heads, headDim, headDim, inverse);
  return { x };
}

/** |a cos| + |b sin| and |b cos| + |a sin|: the sums without cancellation. */
function rotaryMagnitudes(stage: Stage, heads: number, headDim: number): Outputs {
  const half = headDim / 2;
  const x = absolute(stage.normal("x", POSITIONS.length * heads * headDim));
  const [cos, sin] = [absolute(stage.normal("cos", 5 * half)), absolute(stage.normal("sin", 5 * half))];
  return {
    x: x.map((value, i) => {
      const inHead = i % headDim;
      const row = (POSITIONS[Math.floor(i / (heads * headDim))] as number) * half + inHead % half;
      const other = x[inHead < half ? i + half : i - half] as number;
      return value * (cos[row] as number) + other * (sin[row] as number);
    }),
  };
}

function swigluGradient(stage: Stage, count: number, inPlace: boolean, storage: Storage): Outputs {
  const [gate, up, dy] = [
    storage.input(stage, "gate", count, 4),
    storage.input(stage, "up", count),
    storage.input(stage, "dy", count),
  ];
  const dgate = inPlace ? gate : storage.output(stage, count);
  const dup = inPlace ? up : storage.output(stage, count);
  stage.k.activationBackward(dgate, dup, dy, gate, up, "silu");
  return { dgate, dup };
}

function swigluGradientMagnitudes(stage: Stage, count: number): Outputs {
  const [gate, up, dy] = [
    stage.normal("gate", count, 4),
    stage.normal("up", count),
    stage.normal("dy", count),
  ];
  const s = (i: number) => 1 / (1 + Math.exp(-(gate[i] as number)));
  const dgate = Float64Array.from(
    gate,
    (g, i) => Math.abs((dy[i] as number) * (up[i] as number)) * s(i) * (1 + Math.abs(g)),
  );
  return { dgate, dup: Float64Array.from(gate, (g, i) => Math.abs((dy[i] as number) * g) * s(i)) };
}

function swigluExtremes(stage: Stage): Outputs {
  const gate = stage.values([-1000, -90, -87.5, 0, 20, 90, 1000]);
  const y = stage.output(gate.length);
  stage.k.activationForward(y, gate, stage.values(new Float64Array(gate.length).fill(1.5)), "silu");
  return { y };
}

const outputMagnitudes = (_: Stage, oracle: Outputs): Outputs =>
  Object.fromEntries(Object.entries(oracle).map(([name, values]) => [name, absolute(values)]));

/** Kernels on activations, of either storage. */
function perStorage(count: number, storage: Storage): KernelCase[] {
  const label = `of ${count} ${storage.label}`;
  return [
    {
      name: `activationForward() of gated silu ${label}`,
      run(stage) {
        const y = storage.output(stage, count);
        const up = storage.input(stage, "up", count);
        stage.k.activationForward(y, storage.input(stage, "gate", count, 4), up, "silu");
        return { y };
      },
      magnitudes: outputMagnitudes,
    },
    ...[false, true].map((inPlace): KernelCase => ({
      name: `activationBackward() of gated silu ${label}${inPlace ? " in place" : ""}`,
      run: (stage) => swigluGradient(stage, count, inPlace, storage),
      magnitudes: (stage) => swigluGradientMagnitudes(stage, count),
      multiple: 8, // a quotient and four products, each rounded
    })),
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
      name: `activationForward() and activationBackward() of relu of ${count} elements are exact`,
      run(stage) {
        const [y, dx] = [stage.output(count), stage.output(count)];
        stage.k.activationForward(y, stage.normal("x", count), null, "relu");
        stage.k.activationBackward(dx, null, stage.normal("dy", count), y, null, "relu");
        return { y, dx };
      },
    },
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
    name: "activationForward() of gated silu of a very small or large gate is 0 or the product",
    run: swigluExtremes,
    // Where exp(-gate) leaves the range of f32 the result may be 0: it is below the smallest normal number times gate.
    magnitudes: (_, oracle) => ({ y: absolute(oracle.y as Float64Array).map((y) => y + 2 ** -96) }),
  },
  {
    name: "sumSquares() of an infinity or NaN is not finite",
    run: (stage) => ({
      finite: Int32Array.from(
        [[1, Infinity], [NaN, 2], [1, 2]],
        (x) => Number(Number.isFinite(now(stage.k.sumSquares(stage.values(x))))),
      ),
    }),
  },
  ...ROWS.flatMap(([rows, D]): KernelCase[] => [
    ...STORAGES.flatMap((from) =>
      STORAGES.map((to): KernelCase => ({
        name: `normForward() of rms,  (rows,D) = (${rows},${D}), ${from.label} to ${to.label}`,
        run: (stage) => rmsNorm(stage, rows, D, from, to),
        magnitudes: outputMagnitudes,
        // The mean is a sum of positive terms: a handful of roundings, and sqrt(D) of them in the longest lane.
        ...(D > 1000 && { multiple: (8 + Math.sqrt(D)) / 2 }),
      }))
    ),
    ...STORAGES.flatMap((storage) =>
      [false, true].map((accumulate): KernelCase => ({
        name: `normBackward() of rms,  (rows,D) = (${rows},${D}) ${
          accumulate ? "accumulates" : "writes"
        } ${storage.label}`,
        run: (stage) => rmsNormGradient(stage, rows, D, accumulate, storage),
        magnitudes: (stage) => rmsNormMagnitudes(stage, rows, D, accumulate),
        multiple: 8, // rstd too comes from the kernels
      }))
    ),
  ]),
  ...STORAGES.flatMap((storage) =>
    [FAINT, 0].flatMap((std): KernelCase[] => {
      const label = `rows ${std === 0 ? "of zeros" : "whose mean square is near eps"}, ${storage.label}`;
      return [
        {
          name: `normForward() of rms,  ${label}`,
          run: (stage) => rmsNorm(stage, 5, 33, storage, storage, std),
          magnitudes: outputMagnitudes,
        },
        {
          name: `normBackward() of rms,  ${label}`,
          run: (stage) => rmsNormGradient(stage, 5, 33, true, storage, std),
          magnitudes: (stage) => rmsNormMagnitudes(stage, 5, 33, true, std),
          multiple: 8, // rstd too comes from the kernels
        },
      ];
    })
  ),
  ...([[1, 2, false], [3, 6, true], [2, 32, false], [5, 34, true]] as const).flatMap((
    [heads, headDim, inverse],
  ) =>
    STORAGES.map((storage): KernelCase => ({
      name: `ropeApply() of ${heads} heads of ${headDim}, ${storage.label}${inverse ? ", inverse" : ""}`,
      run: (stage) => rotary(stage, heads, headDim, inverse, storage),
      magnitudes: (stage) => rotaryMagnitudes(stage, heads, headDim),
    }))
  ),
];

// SPDX-License-Identifier: Apache-2.0
/** Contract cases of norms of every kind. */
import type { NormCall } from "../../../lib/ops/kernels/model.ts";
import { absolute, type KernelCase, type Outputs } from "../kernel_case.ts";
import { type Stage, type StoredDType, weightMagnitudes } from "../stage.ts";
import { now } from "../../now.ts";
import { FLOATS, type Storage, STORAGES } from "./storage.ts";

const ROWS = [[0, 4], [1, 1], [3, 7], [2, 16], [5, 33], [4, 130], [70, 64], [101, 37], [3, 4099]] as const;
const EPS = 1e-5;
/** A mean square of about EPS, where dropping or moving it changes every digit. */
const FAINT = Math.sqrt(EPS);

/** What a case is a norm of. */
interface Kind {
  readonly kind: NormCall["kind"];
  readonly unitOffset: boolean;
  readonly bias: boolean;
}

const KINDS: readonly Kind[] = [
  { kind: "rms", unitOffset: false, bias: false },
  { kind: "rms", unitOffset: true, bias: false },
  { kind: "layer", unitOffset: false, bias: true },
  { kind: "layer", unitOffset: false, bias: false },
];
const nameOf = ({ kind, unitOffset, bias }: Kind): string =>
  `${kind}${unitOffset ? " of 1 + w" : ""}${bias ? " with a bias" : ""}`;

/** Rows of a case: how many, how wide, how far they spread and where around. */
interface Rows {
  readonly rows: number;
  readonly D: number;
  readonly std: number;
  readonly centre: number;
}

function normOf(stage: Stage, { kind, unitOffset, bias }: Kind, D: number, dtype: StoredDType): NormCall {
  const weight = stage.weight("w", 1, D, dtype);
  return { kind, weight, bias: bias ? stage.weight("b", 1, D, "f16") : null, eps: EPS, unitOffset };
}

/** x (rows,D): as stored where it is centred on 0. */
function inputOf(stage: Stage, { rows, D, std, centre }: Rows, storage: Storage) {
  if (centre === 0) return storage.input(stage, "x", rows * D, std);
  return stage.values(
    [...now(stage.k.read(stage.normal("x", rows * D, std)))].map((x) => Math.fround(centre + x)),
  );
}

function statsOf(stage: Stage, { kind }: Kind, rows: number) {
  return stage.output(kind === "layer" ? 2 * rows : rows);
}

function forward(stage: Stage, kind: Kind, shape: Rows, from: Storage, to: Storage): Outputs {
  const { rows, D } = shape;
  const [y, stats] = [to.output(stage, rows * D), statsOf(stage, kind, rows)];
  stage.k.normForward(y, stats, inputOf(stage, shape, from), normOf(stage, kind, D, "bf16"), rows);
  return { y, stats };
}

function backward(stage: Stage, kind: Kind, shape: Rows, accumulate: boolean, storage: Storage): Outputs {
  const { rows, D } = shape;
  const norm = normOf(stage, kind, D, "f16");
  const stats = forward(stage, kind, shape, FLOATS, FLOATS).stats as Float64Array;
  const dx = accumulate ? storage.input(stage, "dx", rows * D) : storage.output(stage, rows * D);
  const trained = accumulate ? { weight: stage.normal("dweight", D) } : { weight: null };
  const dnorm = { ...trained, bias: kind.bias ? stage.normal("dbias", D) : null };
  const x = inputOf(stage, shape, storage);
  stage.k.normBackward(dx, dnorm, storage.input(stage, "dy", rows * D), x, stats, norm, rows, accumulate);
  return { dx, ...(dnorm.weight && { dweight: dnorm.weight }), ...(dnorm.bias && { dbias: dnorm.bias }) };
}

/** Sizes of the terms of a row: (|x| + mean(|x|)) rstd for n, where a mean is taken off, and of the factors. */
function termsOf(stage: Stage, kind: Kind, shape: Rows, dtype: StoredDType) {
  const { rows, D } = shape;
  const { stats } = forward(stage, kind, shape, FLOATS, FLOATS);
  const at = (i: number): number => (stats as Float64Array)[i] as number;
  const [x, norm] = [absolute(inputOf(stage, shape, FLOATS)), normOf(stage, kind, D, dtype)];
  const factors = weightMagnitudes(norm.weight).map((w) => kind.unitOffset ? 1 + w : w);
  const row = (t: number) => {
    const sizes = Array.from(x.subarray(t * D, (t + 1) * D));
    const layer = kind.kind === "layer";
    const mean = layer ? sizes.reduce((sum, value) => sum + value, 0) / D : 0;
    const r = at(layer ? rows + t : t);
    return { mean, r, n: sizes.map((value) => (value + mean) * r) };
  };
  return { row, factors, added: norm.bias ? weightMagnitudes(norm.bias) : new Array<number>(D).fill(0) };
}

function forwardMagnitudes(stage: Stage, kind: Kind, shape: Rows): Outputs {
  const { rows } = shape;
  const { row, factors, added } = termsOf(stage, kind, shape, "bf16");
  const all = Array.from({ length: rows }, (_, t) => row(t));
  const rstd = all.map(({ mean, r }) => r * (1 + mean * r));
  return {
    y: Float64Array.from(
      all.flatMap(({ n }) => n.map((value, i) => value * (factors[i] as number) + (added[i] as number))),
    ),
    stats: Float64Array.from(kind.kind === "layer" ? [...all.map(({ mean }) => mean), ...rstd] : rstd),
  };
}

function backwardMagnitudes(stage: Stage, kind: Kind, shape: Rows, accumulate: boolean): Outputs {
  const { rows, D } = shape;
  const at = (name: string, count: number) => absolute(stage.normal(name, count));
  const { row, factors } = termsOf(stage, kind, shape, "f16");
  const dy = at("dy", rows * D);
  const dx = accumulate ? at("dx", rows * D) : new Float64Array(rows * D);
  const [dweight, dbias] = [accumulate ? at("dweight", D) : null, kind.bias ? at("dbias", D) : null];
  const add = (to: Float64Array | null, i: number, value: number): void => {
    if (to) to[i] = (to[i] as number) + value;
  };
  for (let t = 0; t < rows; t++) {
    const { r, n } = row(t);
    const g = n.map((_, i) => (factors[i] as number) * (dy[t * D + i] as number));
    const alongN = n.reduce((sum, value, i) => sum + value * (g[i] as number), 0) / D;
    const alongOnes = kind.kind === "layer" ? g.reduce((sum, value) => sum + value, 0) / D : 0;
    n.forEach((value, i) => {
      add(dx, t * D + i, r * ((g[i] as number) + alongOnes + value * alongN));
      add(dweight, i, (dy[t * D + i] as number) * value);
      add(dbias, i, dy[t * D + i] as number);
    });
  }
  return { dx, ...(dweight && { dweight }), ...(dbias && { dbias }) };
}

function forwardCase(label: string, kind: Kind, shape: Rows, from: Storage, to: Storage): KernelCase {
  return {
    name: `normForward() of ${nameOf(kind)}, ${label}, ${from.label} to ${to.label}`,
    run: (stage) => forward(stage, kind, shape, from, to),
    magnitudes: (stage) => forwardMagnitudes(stage, kind, shape),
    // A mean of terms of one sign: a handful of roundings, and sqrt(D) of them in the longest lane.
    ...(shape.D > 1000 && { multiple: (8 + Math.sqrt(shape.D)) / 2 }),
  };
}

function backwardCase(
  label: string,
  kind: Kind,
  shape: Rows,
  accumulate: boolean,
  storage: Storage,
): KernelCase {
  return {
    name: `normBackward() of ${nameOf(kind)}, ${label} ${
      accumulate ? "accumulates" : "writes"
    } ${storage.label}`,
    run: (stage) => backward(stage, kind, shape, accumulate, storage),
    magnitudes: (stage) => backwardMagnitudes(stage, kind, shape, accumulate),
    multiple: 8, // the statistics too come from the kernels
  };
}

/** Cases of this family. */
export const normCases: readonly KernelCase[] = KINDS.flatMap((kind) => [
  ...ROWS.flatMap(([rows, D]): KernelCase[] => {
    const [label, shape] = [`(rows,D) = (${rows},${D})`, { rows, D, std: 1, centre: 0 }];
    return STORAGES.flatMap((from) => [
      ...STORAGES.map((to) => forwardCase(label, kind, shape, from, to)),
      ...[false, true].map((accumulate) => backwardCase(label, kind, shape, accumulate, from)),
    ]);
  }),
  ...STORAGES.flatMap((storage) =>
    [FAINT, 0].flatMap((std): KernelCase[] => {
      const shape = { rows: 5, D: 33, std, centre: 0 };
      const label = `rows ${std === 0 ? "of zeros" : "whose mean square is near eps"}`;
      return [
        forwardCase(label, kind, shape, storage, storage),
        backwardCase(label, kind, shape, true, storage),
      ];
    })
  ),
  ...[100, -3e4].flatMap((centre): KernelCase[] => {
    const [label, shape] = [`rows around ${centre}`, { rows: 7, D: 67, std: 1, centre }];
    return [forwardCase(label, kind, shape, FLOATS, FLOATS), backwardCase(label, kind, shape, true, FLOATS)];
  }),
]);

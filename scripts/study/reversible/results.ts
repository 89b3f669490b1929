// SPDX-License-Identifier: Apache-2.0
/** What the study found: every cell, and each method over its seeds beside the adapter that it is compared with. */
import type { Estimate } from "../../../lib/evaluate/metrics.ts";
import { meanOverSeeds, studentHalf } from "../../../lib/evaluate/seeds.ts";
import { formatBytes, formatCount } from "../../../lib/report/format.ts";
import type { Machine } from "../../bench/machine.ts";
import { median } from "../../bench/statistics.ts";
import type { StepTimes } from "../cells.ts";

/** What every cell tells of its training. */
export interface Cost {
  readonly method: string;
  readonly seed: number;
  readonly lr: number;
  readonly trained: number;
  /** Of host memory beside the model's weights: parameters, optimizer, gradients and activations together. */
  readonly besideBytes: number;
  /** Activations alone; those of full fine-tuning lie in the memory of its gradients. */
  readonly activationBytes: number;
  readonly times: StepTimes | null;
}

/** A method that learnt classes, with one seed. */
export interface ClassesCell extends Cost {
  readonly accuracy: number;
  readonly f1: number;
}

/** Mean losses, in nats a token. */
export interface TextLosses {
  /** On books of the unknown text that none has learnt from. */
  readonly text: number;
  /** On English. */
  readonly english: number;
}

/** A method that learnt a text, with one seed. */
export interface TextCell extends Cost, TextLosses {}

/** Of the encoder. */
export interface ClassesResults {
  readonly testRows: number;
  readonly cells: readonly ClassesCell[];
}

/** Of the decoder. */
export interface TextResults {
  readonly trainRows: number;
  readonly testRows: number;
  /** Of the model as it is, and as each method begins with it. */
  readonly plain: TextLosses;
  readonly starts: Readonly<Record<string, TextLosses>>;
  readonly cells: readonly TextCell[];
}

/** All of it, as it is kept. */
export interface StudyResults {
  readonly machine: Machine;
  readonly classes: ClassesResults;
  readonly text: TextResults;
}

/** The adapter of the same size on plain layers, which the others are compared with. */
const ORDINARY = "bottleneck";

/** A mean with half of its 95 % interval; null of one seed, which says nothing of others. */
export interface Mean {
  readonly mean: number;
  readonly half: number | null;
}

/** One method over its seeds. */
interface MethodCost {
  readonly method: string;
  readonly lr: number;
  readonly trained: number;
  readonly activationBytes: number;
  readonly besideBytes: number;
  /** Median over the seeds of tokens a second of CPU time, which what else the machine does hardly changes; NaN of none. */
  readonly tokensPerSecond: number;
}

/** A method on the classes. */
export interface ClassesMethod extends MethodCost {
  readonly accuracy: Estimate;
  readonly f1: Estimate;
  /** Accuracy less that of the ordinary adapter, seed by seed. */
  readonly difference: Mean;
}

/** A method on the text. */
export interface TextMethod extends MethodCost {
  readonly start: TextLosses;
  readonly text: Mean;
  readonly english: Mean;
  /** Losses less those of the ordinary adapter, seed by seed. */
  readonly difference: { readonly text: Mean; readonly english: Mean };
}

/** Methods of the encoder, in the order of their first cells. */
export function classesByMethod({ cells, testRows: count }: ClassesResults): ClassesMethod[] {
  return eachMethod(cells, (own, difference) => {
    const over = (score: "accuracy" | "f1") =>
      meanOverSeeds(own.map(({ [score]: mean }) => ({ mean, low: mean, high: mean, count })));
    return { ...costOf(own), accuracy: over("accuracy"), f1: over("f1"), difference: difference("accuracy") };
  });
}

/** Methods of the decoder, in the order of their first cells. */
export function textByMethod({ cells, plain, starts }: TextResults): TextMethod[] {
  return eachMethod(cells, (own, difference) => {
    const cost = costOf(own);
    return {
      ...cost,
      start: starts[cost.method] ?? plain,
      text: meanOf(own.map(({ text }) => text)),
      english: meanOf(own.map(({ english }) => english)),
      difference: { text: difference("text"), english: difference("english") },
    };
  });
}

/** @param make Given the cells of a method, and what tells a number of theirs less that of the ordinary adapter's */
function eachMethod<C extends Cost, T>(
  cells: readonly C[],
  make: (own: readonly C[], difference: (of: keyof C) => Mean) => T,
): T[] {
  const named = (name: string) => cells.filter(({ method }) => method === name);
  const ordinary = new Map(named(ORDINARY).map((cell) => [cell.seed, cell]));
  return [...new Set(cells.map(({ method }) => method))].map((name) => {
    const own = named(name);
    return make(own, (of) =>
      meanOf(own.flatMap((cell) => {
        const other = ordinary.get(cell.seed);
        return other ? [(cell[of] as number) - (other[of] as number)] : [];
      })));
  });
}

function costOf(cells: readonly Cost[]): MethodCost {
  const { method, lr, trained } = cells[0] as Cost;
  return {
    ...{ method, lr, trained },
    activationBytes: median(cells.map((cell) => cell.activationBytes)),
    besideBytes: median(cells.map((cell) => cell.besideBytes)),
    tokensPerSecond: median(cells.flatMap(({ times }) => times ? [times.tokens / times.cpuSeconds] : [])),
  };
}

function meanOf(values: readonly number[]): Mean {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, half: values.length < 2 ? null : studentHalf(values) };
}

const percent = (share: number) => (100 * share).toFixed(1);
const withHalf = ({ mean, half }: Mean, format: (value: number) => string) =>
  half === null ? format(mean) : `${format(mean)} ± ${format(half)}`;
const loss = (mean: Mean) => withHalf(mean, (value) => value.toFixed(2));
const rate = (lr: number) => String(lr);
const costColumns = ({ activationBytes, besideBytes, tokensPerSecond }: MethodCost) => [
  formatBytes(activationBytes),
  formatBytes(besideBytes),
  Number.isNaN(tokensPerSecond) ? "" : tokensPerSecond.toFixed(0),
];

/** The encoder's table, below a head. */
export function classesRows(methods: readonly ClassesMethod[]): string[][] {
  return [
    [
      "method",
      "trained",
      "rate",
      "accuracy, %",
      "less the ordinary",
      "macro F1, %",
      "activations",
      "beside the weights",
      "tokens a CPU second",
    ],
    ...methods.map((one) => [
      one.method,
      formatCount(one.trained),
      rate(one.lr),
      `${percent(one.accuracy.mean)} (${percent(one.accuracy.low)} to ${percent(one.accuracy.high)})`,
      one.method === ORDINARY ? "" : withHalf(one.difference, percent),
      percent(one.f1.mean),
      ...costColumns(one),
    ]),
  ];
}

/** The decoder's table, below a head. */
export function textRows(methods: readonly TextMethod[]): string[][] {
  return [
    [
      "method",
      "trained",
      "rate",
      "Spanish",
      "less the ordinary",
      "English",
      "before",
      "activations",
      "beside the weights",
      "tokens a CPU second",
    ],
    ...methods.map((one) => [
      one.method,
      formatCount(one.trained),
      rate(one.lr),
      loss(one.text),
      one.method === ORDINARY ? "" : loss(one.difference.text),
      loss(one.english),
      `${one.start.text.toFixed(2)}, ${one.start.english.toFixed(2)}`,
      ...costColumns(one),
    ]),
  ];
}

// SPDX-License-Identifier: Apache-2.0
/** Labelled rows as a data set: tokens as transformers' tokenizers put them around one text or two, and a label for each. */
import { UserError } from "../core/errors.ts";
import { quotedValue } from "../core/quoted.ts";
import { type ClassLabel, classNames, classNumber } from "../data/class_labels.ts";
import { type Dataset, DatasetBuilder, type ExampleLabels, exampleLength } from "../data/dataset.ts";
import { DATA_OPTIONS } from "../data/data_options.ts";
import type { Example } from "../data/examples.ts";
import { type BadRowPolicy, BadRowsError } from "../data/bad_rows.ts";
import { mapResults } from "../data/map_rows.ts";
import { RowError } from "../data/row_error.ts";
import type { BadRow } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import { type LabelledRow, readLabelledRows } from "./labelled_rows.ts";

/** The head that gives labels. */
export type LabelHead = Extract<HeadConfig, { kind: "classification" }>;

/** How labelled rows are read. */
export interface LabelledOptions {
  /** Tokens of a row at most: longer ones are cut. Default 256. */
  readonly seqLen?: number;
  /** "stop" (default) reads all rows and then throws one error that lists the first bad ones; "skip" leaves them out. */
  readonly badRows?: BadRowPolicy;
}

interface LabelledExample extends Example {
  /** Tokens before those that the model is told are of a second text. */
  readonly secondFrom: number;
}

/**
 * Reads and tokenises labelled rows for a head.
 *
 * @throws {BadRowsError} With policy "stop", when there are bad rows: a label that the head does not have is one
 * @throws {UserError} When a path is missing, or there is no row
 */
export async function loadLabelled(
  paths: readonly string[],
  tokenizer: Tokenizer,
  head: LabelHead,
  options: LabelledOptions = {},
): Promise<Dataset> {
  const labels: number[] = [];
  const data = await loadRowsOf(paths, tokenizer, options, (row) => {
    const label = labelNumber(row, head);
    return () => labels.push(label);
  });
  return { ...data, labels: exampleLabels(labels, head), report: { ...data.report, targets: labels.length } };
}

/** The same without labels: each token that is no mark may be asked for. @throws As {@linkcode loadLabelled} */
export async function loadTexts(
  paths: readonly string[],
  tokenizer: Tokenizer,
  options: LabelledOptions = {},
): Promise<Dataset> {
  const data = await loadRowsOf(paths, tokenizer, options, (_row, { ids }) => {
    if (ids.every((id) => tokenizer.specialIds.has(id))) {
      throw new RowError("empty", "the row has no token to ask for");
    }
    return () => {};
  });
  const lossMask = Uint8Array.from(data.ids, (id) => Number(!tokenizer.specialIds.has(id)));
  const targets = lossMask.reduce((sum, asked) => sum + asked, 0);
  return { ...data, lossMask, report: { ...data.report, targets } };
}

/** @param check Looks at a row, and gives what is to be done with it once it is taken; may throw a `RowError` */
async function loadRowsOf(
  paths: readonly string[],
  tokenizer: Tokenizer,
  { seqLen = DATA_OPTIONS.seqLen.default, badRows: policy = "stop" }: LabelledOptions,
  check: (row: LabelledRow, example: Example) => () => void,
): Promise<Dataset> {
  const builder = new DatasetBuilder(paths);
  const seconds: number[] = [];
  const report = await mapResults(paths, policy, {
    results: readLabelledRows(paths),
    async make(row: LabelledRow) {
      const example = await encodeRow(row, tokenizer, seqLen);
      return { example, taken: check(row, example) };
    },
    take({ example, taken }, place) {
      builder.add(example, place);
      seconds.push(example.secondFrom);
      taken();
    },
  });
  const data = builder.finish(seqLen, { ...report, warnings: [] });
  // What is all of the first text needs no telling.
  const hasSecond = seconds.some((from, i) => from < exampleLength(data, i));
  return { ...data, ...(hasSecond && { secondFrom: Uint32Array.from(seconds) }) };
}

function exampleLabels(labels: readonly number[], { gives, labels: names }: LabelHead): ExampleLabels {
  return gives === "classes"
    ? { kind: "classes", of: Int32Array.from(labels), names }
    : { kind: "values", of: Float64Array.from(labels) };
}

/** @throws {RowError} When the row has no label, or none that the head has */
function labelNumber({ label }: LabelledRow, { gives, labels: names }: LabelHead): number {
  if (gives === "classes") return classNumber(label, names);
  if (label === null) throw new RowError("empty", 'the row has no "label"');
  const value = typeof label === "string" && label.trim() !== "" ? Number(label) : label;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new RowError("wrong type", `"label" is ${quotedValue(label)}, expected a number`);
}

/** The classes of data, where no model names them; see {@linkcode classesOfLabels}. */
export async function classesOf(paths: readonly string[]): Promise<readonly string[]> {
  const labels = new Set<ClassLabel>();
  const bad: BadRow[] = [];
  for await (const result of readLabelledRows(paths)) {
    if (!result.ok) bad.push(result.bad);
    else if (result.row.label !== null) labels.add(result.row.label);
  }
  // Of rows that all are none, why is what helps.
  if (labels.size === 0 && bad.length > 0) throw new BadRowsError(bad, bad.length);
  return classesOfLabels(labels);
}

/**
 * The classes that labels are of.
 *
 * @throws {UserError} When they do not go together, or there is one alone
 */
export function classesOfLabels(labels: ReadonlySet<ClassLabel>): readonly string[] {
  const names = namesOf(labels);
  if (names.length >= 2) return names;
  const found = names.length === 0
    ? "no row has a label"
    : `all rows have the label ${quotedValue(names[0])}`;
  throw new UserError(`Cannot make classes of the data: ${found}`);
}

function namesOf(labels: ReadonlySet<ClassLabel>): readonly string[] {
  try {
    const odd = [...labels].find((label) =>
      typeof label === "number" && !(Number.isInteger(label) && label >= 0)
    );
    if (odd === undefined) return classNames(labels);
    throw new UserError(
      `Cannot make classes of the data: the label ${odd} is the number of none (--task regression?)`,
    );
  } catch (error) {
    throw error instanceof RowError
      ? new UserError(`Cannot make classes of the data: ${error.message}`)
      : error;
  }
}

async function encodeRow(
  { text, second }: LabelledRow,
  tokenizer: Tokenizer,
  seqLen: number,
): Promise<LabelledExample> {
  const [a, b] = await tokenizer.encodeBatch(second === null ? [text] : [text, second]);
  const own = a?.ids ?? [];
  return second === null
    ? textExample(own, tokenizer, seqLen)
    : pairExample(own, b?.ids ?? [], tokenizer, seqLen);
}

function cut(ids: ArrayLike<number>, most: number): number[] {
  return Array.from(ids).slice(0, Math.max(0, most));
}

function textExample(
  text: ArrayLike<number>,
  { prefixIds, suffixIds }: Tokenizer,
  seqLen: number,
): LabelledExample {
  const kept = cut(text, seqLen - prefixIds.length - suffixIds.length);
  const ids = Int32Array.from([...prefixIds, ...kept, ...suffixIds]);
  return {
    ids,
    lossMask: new Uint8Array(ids.length),
    cutTokens: text.length - kept.length,
    secondFrom: ids.length,
  };
}

function pairExample(
  first: ArrayLike<number>,
  second: ArrayLike<number>,
  { pairIds: { prefix, middle, suffix, secondType } }: Tokenizer,
  seqLen: number,
): LabelledExample {
  const room = Math.max(0, seqLen - prefix.length - middle.length - suffix.length);
  const [a, b] = sharedRoom(first.length, second.length, room);
  const ids = Int32Array.from([...prefix, ...cut(first, a), ...middle, ...cut(second, b), ...suffix]);
  return {
    ids,
    lossMask: new Uint8Array(ids.length),
    cutTokens: first.length + second.length - a - b,
    secondFrom: secondType === 1 ? prefix.length + a + middle.length : ids.length,
  };
}

/** How much of two texts is kept, the longer cut first, as transformers' `longest_first` has it. */
export function sharedRoom(first: number, second: number, room: number): readonly [number, number] {
  if (first + second <= room) return [first, second];
  const [short, long] = first <= second ? [first, second] : [second, first];
  let keepsShort = short;
  let keepsLong = Math.min(long, Math.max(short, room - short));
  if (keepsShort + keepsLong > room) {
    keepsShort = Math.floor(room / 2);
    keepsLong = keepsShort + room % 2;
  }
  return first <= second ? [keepsShort, keepsLong] : [keepsLong, keepsShort];
}

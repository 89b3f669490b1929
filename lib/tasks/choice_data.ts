// SPDX-License-Identifier: Apache-2.0
/** Questions with choices as a data set: each choice behind its question, its own tokens the targets. */
import { UserError } from "../core/errors.ts";
import { DATA_OPTIONS } from "../data/data_options.ts";
import { type Dataset, DatasetBuilder } from "../data/dataset.ts";
import type { Example } from "../data/examples.ts";
import { fileProblem, readLines } from "../data/lines.ts";
import { BadRowsError } from "../data/load_data.ts";
import { RowError } from "../data/row_error.ts";
import { type BadRow, catchBadRow, parseFields, type RowPlace } from "../data/rows.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import { CHOICE_SHAPES, type ChoiceRow, choiceRow } from "./choice_rows.ts";
import type { LabelledOptions } from "./labelled_data.ts";

/** All choices of some questions. */
export interface ChoiceSet {
  /** An example a choice, those of a question one after the other. */
  readonly data: Dataset;
  readonly questions: readonly Question[];
}

/** A question and where its choices are. */
export interface Question extends ChoiceRow {
  readonly place: RowPlace;
  /** Number of the example of its first choice. */
  readonly first: number;
}

/**
 * Reads questions with all of their choices, or with the right ones alone, to learn from.
 *
 * @throws {BadRowsError} With policy "stop", when there are bad rows
 * @throws {UserError} When a path is missing, or there is no row
 */
export async function loadChoices(
  paths: readonly string[],
  tokenizer: Tokenizer,
  { seqLen = DATA_OPTIONS.seqLen.default, badRows: policy = "stop" }: LabelledOptions,
  which: "all" | "right",
): Promise<ChoiceSet> {
  const builder = new DatasetBuilder(paths);
  const questions: Question[] = [];
  const bad: BadRow[] = [];
  let [rowsRead, first] = [0, 0];
  for await (const { text, place } of linesOf(paths)) {
    rowsRead++;
    const found = await catchBadRow(place, async () => {
      const row = choiceRow(parseFields(text, CHOICE_SHAPES));
      const choices = which === "all" ? row.choices : [row.choices[row.answer] as string];
      return {
        ok: true as const,
        row,
        examples: await encodeChoices(row.context, choices, tokenizer, seqLen),
      };
    });
    if (!found.ok) {
      bad.push(found.bad);
      continue;
    }
    for (const example of found.examples) builder.add(example, place);
    questions.push({ ...found.row, place, first });
    first += found.examples.length;
  }
  if (rowsRead === 0) {
    throw new UserError(`There are no rows in ${paths.map((path) => `"${path}"`).join(", ")}`);
  }
  if (bad.length > 0 && (policy === "stop" || questions.length === 0)) throw new BadRowsError(bad, rowsRead);
  const report = { rowsRead, rowsUsed: questions.length, badRows: bad, warnings: [] };
  return { data: builder.finish(seqLen, report), questions };
}

async function* linesOf(paths: readonly string[]): AsyncGenerator<{ text: string | null; place: RowPlace }> {
  if (paths.length === 0) throw new UserError("Cannot read the data: no data file was given");
  for (const file of paths) {
    const problem = await fileProblem(file);
    if (problem !== null) throw new UserError(`Cannot read the data: "${file}" ${problem}`);
    for await (const { number, text } of readLines(file)) yield { text, place: { file, line: number } };
  }
}

/**
 * Tokens of a choice are those that the whole has behind the tokens of the question alone, as in the harness. What is too long
 * loses the beginning of its question.
 *
 * @throws {RowError} When a choice alone is too long
 */
async function encodeChoices(
  context: string,
  choices: readonly string[],
  tokenizer: Tokenizer,
  seqLen: number,
): Promise<Example[]> {
  const [before, ...whole] = await tokenizer.encodeBatch([
    context,
    ...choices.map((choice) => `${context} ${choice}`),
  ]);
  const { prefixIds: prefix } = tokenizer;
  return whole.map(({ ids: all }) => {
    const own = all.length - (before?.ids.length ?? 0);
    const room = seqLen - prefix.length;
    if (own < 1 || own >= room) {
      throw new RowError(
        "over-long",
        `a choice of ${own} tokens leaves no room for its question in ${seqLen}`,
      );
    }
    const ids = Int32Array.from([...prefix, ...Array.from(all).slice(-room)]);
    const lossMask = Uint8Array.from(ids, (_, i) => Number(i >= ids.length - own));
    return { ids, lossMask, cutTokens: Math.max(0, all.length - room) };
  });
}

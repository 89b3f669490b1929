// SPDX-License-Identifier: Apache-2.0
/** Questions with choices as a data set: each choice behind its question, its own tokens the targets. */
import { DATA_OPTIONS } from "../data/data_options.ts";
import { type Dataset, DatasetBuilder } from "../data/dataset.ts";
import type { Example } from "../data/examples.ts";
import { mapRows } from "../data/map_rows.ts";
import { RowError } from "../data/row_error.ts";
import { parseFields, type RowPlace } from "../data/rows.ts";
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
  let first = 0;
  const report = await mapRows(paths, policy, {
    read: (text) => choiceRow(parseFields(text, CHOICE_SHAPES)),
    async make(row) {
      const choices = which === "all" ? row.choices : [row.choices[row.answer] as string];
      return { row, examples: await encodeChoices(row.context, choices, tokenizer, seqLen) };
    },
    take({ row, examples }, place) {
      for (const example of examples) builder.add(example, place);
      questions.push({ ...row, place, first });
      first += examples.length;
    },
  });
  return { data: builder.finish(seqLen, { ...report, warnings: [] }), questions };
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

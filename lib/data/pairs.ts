// SPDX-License-Identifier: Apache-2.0
/** From rows of two texts to what an encoder reads and what its decoder is to write. */
import { UserError } from "../core/errors.ts";
import { cachedDataset } from "./dataset_cache.ts";
import { DATA_OPTIONS } from "./data_options.ts";
import { type Dataset, DatasetBuilder } from "./dataset.ts";
import type { Example } from "./examples.ts";
import type { FormatOptions } from "./format_options.ts";
import { withLanguages } from "./languages.ts";
import { mapRows } from "./map_rows.ts";
import type { LoadDataOptions } from "./load_data.ts";
import { PAIR_SHAPES, type PairRow, pairRow, sourceText } from "./pair_rows.ts";
import type { Prompt, PromptOptions, PromptReader } from "./prompt_reader.ts";
import { RowError } from "./row_error.ts";
import { parseFields } from "./rows.ts";
import type { ShiftedIn } from "./shift_right.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** How long the two texts may be, in tokens, with what goes around them. */
interface PairLengths {
  readonly seqLen: number;
  readonly targetLen: number;
}

/**
 * Reads and tokenises rows of two texts, or takes what was left on disk.
 *
 * @param shiftedIn Of the model
 * @throws {BadRowsError} With policy "stop", when there are bad rows
 * @throws {UserError} When a file is missing, there is no row, or options do not suit texts of two kinds
 */
export async function loadPairs(
  paths: readonly string[],
  tokenizer: Tokenizer,
  shiftedIn: ShiftedIn,
  options: LoadDataOptions,
): Promise<Dataset> {
  const { cache = true, onProgress, onNote, badRows = "stop", ...format } = options;
  checkFormat(format);
  const lengths = lengthsOf(options);
  const spoken = withLanguages(tokenizer, format);
  const make = async (): Promise<Dataset> => {
    const builder = new DatasetBuilder(paths, shiftedIn);
    const report = await mapRows(
      paths,
      badRows,
      {
        read: (text) => pairRow(parseFields(text, PAIR_SHAPES), format),
        make: async (row: PairRow) => await pairExample(row, spoken, format, lengths),
        take: (example: Example, place) => builder.add(example, place),
      },
      onProgress,
    );
    return builder.finish(lengths.seqLen, { ...report, warnings: [] });
  };
  if (!cache) return await make();
  const deciding = { ...format, ...lengths, badRows, shiftedIn };
  return await cachedDataset({
    files: paths,
    tokenizer: spoken,
    options: deciding,
    ...(onNote && { onNote }),
  }, make);
}

/** Tokens of both texts, each cut to its length between its marks. */
async function pairExample(
  { source, targets: [target = ""] }: PairRow,
  tokenizer: Tokenizer,
  { sourcePrefix = "" }: FormatOptions,
  { seqLen, targetLen }: PairLengths,
): Promise<Example> {
  const [read, written] = await tokenizer.encodeBatch([sourcePrefix + source, target]);
  const { prefixIds: prefix, suffixIds: suffix } = tokenizer;
  const own = around(read?.ids ?? [], { prefix, suffix }, seqLen);
  const learnt = around(written?.ids ?? [], tokenizer.targetIds ?? { prefix, suffix }, targetLen);
  if (learnt.ids.length === 0 || own.ids.length === 0) {
    throw new RowError("empty", "the tokenizer makes no token of the row");
  }
  return {
    ids: learnt.ids,
    lossMask: new Uint8Array(learnt.ids.length).fill(1),
    source: own.ids,
    cutTokens: own.cut + learnt.cut,
  };
}

/** @throws {RowError} When what goes around a text leaves no room for it */
function around(
  ids: ArrayLike<number>,
  { prefix, suffix }: { readonly prefix: readonly number[]; readonly suffix: readonly number[] },
  length: number,
): { ids: Int32Array; cut: number } {
  const room = length - prefix.length - suffix.length;
  if (room < 1) throw new RowError("over-long", `${length} tokens leave no room between the marks of a text`);
  const kept = Array.from(ids).slice(0, room);
  return { ids: Int32Array.from([...prefix, ...kept, ...suffix]), cut: ids.length - kept.length };
}

function lengthsOf(
  { seqLen = DATA_OPTIONS.seqLen.default, targetLen = seqLen }: LoadDataOptions,
): PairLengths {
  if (targetLen <= seqLen) return { seqLen, targetLen };
  throw new UserError(
    `--target-len is ${targetLen}, more than --seq-len = ${seqLen}, which no text of a row may pass: raise --seq-len`,
  );
}

/** @throws {UserError} When options are for conversations */
function checkFormat(format: FormatOptions & Pick<LoadDataOptions, "lossOn">): void {
  const { chatTemplate = "auto", thinking = "auto", system, templateOptions = {}, lossOn = "completion" } =
    format;
  const foreign = [
    ...(typeof chatTemplate === "object" ? ["--chat-template"] : []),
    ...(thinking !== "auto" ? ["--thinking"] : []),
    ...(system !== undefined ? ["--system"] : []),
    ...(Object.keys(templateOptions).length > 0 ? ["--template-option"] : []),
    ...(lossOn !== "completion" ? ["--loss-on"] : []),
  ];
  if (foreign.length === 0) return;
  throw new UserError(
    `${
      foreign.join(", ")
    }: an encoder-decoder reads a text and writes another, without conversations; leave it out` +
      ` (a text before every source: --source-prefix)`,
  );
}

/** What is read of a row, and all that may be written. */
export const PAIR_PROMPTS: PromptReader = {
  answersApart: true,
  fromText: async (text, tokenizer, options) => await sourceIds(text, tokenizer, options),
  fromRow: async (text, tokenizer, options): Promise<Prompt> => {
    const { source, targets } = pairRow(parseFields(text, PAIR_SHAPES), options);
    return { ids: await sourceIds(source, tokenizer, options), answers: targets };
  },
  fromQuestion: async (text, tokenizer, options) =>
    await sourceIds(sourceText(parseFields(text, PAIR_SHAPES), options), tokenizer, options),
};

async function sourceIds(
  text: string,
  tokenizer: Tokenizer,
  options: PromptOptions,
): Promise<readonly number[]> {
  checkFormat(options);
  const spoken = withLanguages(tokenizer, options);
  const ids = await spoken.encode((options.sourcePrefix ?? "") + text);
  const { prefixIds: prefix, suffixIds: suffix } = spoken;
  return [...around(ids, { prefix, suffix }, options.seqLen ?? Number.MAX_SAFE_INTEGER).ids];
}

// SPDX-License-Identifier: Apache-2.0
/** Which tokens have rows that are trained, by number as PEFT's `trainable_token_indices` chooses them: every mistake found at once. */
import { isJsonObject, type Json } from "../core/json.ts";
import { quotedValue } from "../core/quoted.ts";
import type { ModelConfig } from "../models/model.ts";
import { moduleOf } from "../models/tensor_names.ts";
import { type VocabularyTables, vocabularyTables } from "../models/vocabulary.ts";
import type { OptionSource } from "./option_source.ts";
import type { TokenRows, TokenTables } from "./token_rows.ts";
import { type ChosenModules, modulesLabel } from "./modules_to_save.ts";

/** What was chosen, or what is wrong with it. */
export interface ChosenTokens {
  /** Null where there are problems. */
  readonly tables: TokenTables | null;
  /** What was chosen, as it is recorded. */
  readonly recorded: Json;
  readonly problems: readonly string[];
}

/** Mistakes that one message lists. */
const LISTED = 5;

/**
 * The rows that indices choose.
 *
 * A list is of the embedding, and of the head where that is tied to it. Of tied tables that are given different tokens each has
 * rows of its own, and they are tied no more, unless `tie` says that they shall be.
 *
 * @param given They may come from a file
 * @param modules What is trained whole
 */
export function chooseTokens(
  given: unknown,
  tie: boolean,
  modules: Pick<ChosenModules, "tensors">,
  model: ModelConfig,
  source: OptionSource,
): ChosenTokens {
  const label = source.by === "peft" ? '"trainable_token_indices"' : "trainableTokenIndices";
  const known = vocabularyTables(model);
  if (known === null) {
    return refused(`${label} is given, but the model is given no tokens: it has no embedding of them`);
  }
  const named: readonly (readonly [string, unknown])[] = isJsonObject(given)
    ? Object.entries(given)
    : [[moduleOf(known.embedding), given]];
  const places = [known.embedding, known.head ?? []].flat();
  const problems: string[] = [];
  if (named.length === 0) problems.push(`${label} is {}, expected numbers of tokens`);
  const rows = named.flatMap(([name, value]): TokenRows[] => {
    const where = isJsonObject(given) ? `${label} of ${quotedValue(name)}` : label;
    const ids = readIds(where, value, model.vocabSize, problems);
    const tensors = places.filter((tensor) => moduleOf(tensor).endsWith(name));
    if (tensors.length === 0) {
      const tables = places.map(moduleOf).join(" and ");
      problems.push(`${label} has ${quotedValue(name)}, which is no table of tokens: there are ${tables}`);
    }
    return tensors.map((tensor) => ({ tensor, ids }));
  });
  for (const tensor of places) {
    if (rows.filter((table) => table.tensor === tensor).length > 1) {
      problems.push(`${label} names ${moduleOf(tensor)} twice`);
    }
  }
  const tables = arrange(rows, known);
  if (known.tied && tie && tables.apart !== null) {
    problems.push(
      `${label} gives ${moduleOf(known.embedding)} and ${
        moduleOf(tables.apart)
      } different tokens, but the two ` +
        "are to stay one (ensureWeightTying): give both the same, or name the first alone",
    );
  }
  problems.push(...wholeProblems(label, tables, modules, source));
  return {
    tables: problems.length > 0 ? null : tables,
    recorded: recordedIndices(named, known.embedding),
    problems,
  };
}

function refused(problem: string): ChosenTokens {
  return { tables: null, recorded: null, problems: [problem] };
}

/** Lists by name; the embedding's alone where that is all. */
function recordedIndices(named: readonly (readonly [string, unknown])[], embedding: string): Json {
  const lists = named.map(([name, value]) => [name, [value].flat() as Json[]] as const);
  const [first] = lists;
  return lists.length === 1 && first?.[0] === moduleOf(embedding) ? first[1] : Object.fromEntries(lists);
}

/** Numbers of tokens, each once and each of the vocabulary. @mutates problems */
function readIds(where: string, value: unknown, vocabSize: number, problems: string[]): readonly number[] {
  const ids: readonly unknown[] = Array.isArray(value) ? value : [value];
  const foreign = ids.filter((id) =>
    !Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= vocabSize
  );
  const twice = [...new Set(ids.filter((id, i) => ids.indexOf(id) < i && !foreign.includes(id)))];
  if (ids.length === 0) problems.push(`${where} is [], expected numbers of tokens`);
  if (foreign.length > 0) {
    problems.push(`${where} has ${listed(foreign)}, expected tokens of the model: 0 to ${vocabSize - 1}`);
  }
  if (twice.length > 0) problems.push(`${where} has ${listed(twice)} more than once`);
  return ids as readonly number[];
}

function listed(values: readonly unknown[]): string {
  const more = values.length - LISTED;
  const shown = values.slice(0, LISTED).map((value) => quotedValue(value)).join(", ");
  return more > 0 ? `${shown} and ${more} more` : shown;
}

/** Tied tables with the same tokens have one set of rows; PEFT compares them with their order. */
function arrange(
  rows: readonly TokenRows[],
  { embedding, head, tied }: VocabularyTables,
): TokenTables {
  if (!tied || head === null) return { rows, follows: null, apart: null };
  const [ofEmbedding, ofHead] = [embedding, head].map((tensor) =>
    rows.find((table) => table.tensor === tensor)
  );
  const same = ofHead === undefined || ofEmbedding?.ids.join() === ofHead.ids.join();
  if (ofEmbedding !== undefined && same) return { rows: [ofEmbedding], follows: head, apart: null };
  return { rows, follows: null, apart: head };
}

/** What is trained whole has no rows that are trained by themselves. */
function wholeProblems(
  label: string,
  { rows, follows }: TokenTables,
  { tensors }: Pick<ChosenModules, "tensors">,
  source: OptionSource,
): string[] {
  const both = [...rows.map(({ tensor }) => tensor), follows ?? []].flat().filter((tensor) =>
    tensors.has(tensor)
  );
  return both.map((tensor) =>
    `${label} trains rows of ${moduleOf(tensor)}, which ${
      modulesLabel(source)
    } trains whole: leave it out of one of the two`
  );
}

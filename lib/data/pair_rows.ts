// SPDX-License-Identifier: Apache-2.0
/** Rows of a text that is read and one that is written, by the names that published sets give the two. */
import { isJsonObject } from "../core/json.ts";
import { RowError } from "./row_error.ts";
import { type Fields, filledText, unknownShape } from "./row_fields.ts";

/** Which fields are read and written, where their names do not say. */
export interface PairFields {
  /** Of what is read; within `translation`, a language's. */
  readonly sourceField?: string | undefined;
  /** Of what is written. */
  readonly targetField?: string | undefined;
}

/** A text with what is to be written of it. */
export interface PairRow {
  readonly source: string;
  /** The first is learnt; all are right when answers are scored. */
  readonly targets: readonly string[];
}

/** Fields of two texts. */
const PAIRS = [
  ["source", "target"],
  ["document", "summary"],
  ["article", "highlights"],
  ["article", "abstract"],
  ["dialogue", "summary"],
  ["text", "summary"],
  ["prompt", "completion"],
  ["input", "output"],
  ["question", "answer"],
] as const;

/** Fields that say what is asked of the source: to leave them out would ask something else. */
const ASKS = ["instruction", "context", "passage", "messages", "conversations"];

/** The accepted shapes, as messages name them. */
export const PAIR_SHAPES = PAIRS.map((names) => `{${names.join(", ")}}`).join(", ") +
  " or {translation: {en, de}}; other fields by --source-field and --target-field";

/**
 * The two texts of a row; fields beside them (ids, titles) are passed over.
 *
 * @throws {RowError} When there are none, or the names leave open which two are meant
 */
export function pairRow(fields: Fields, chosen: PairFields = {}): PairRow {
  const { all, languages } = withTranslation(fields);
  const [source, target] = namesOf(all, chosen, languages);
  return { source: filledText(source, all[source]), targets: targetsOf(target, all[target]) };
}

/**
 * The text that is read, of a row that may lack what is written.
 *
 * @throws {RowError} When there is none
 */
export function sourceText(fields: Fields, chosen: PairFields = {}): string {
  const { all } = withTranslation(fields);
  const name = chosen.sourceField ?? PAIRS.map(([source]) => source).find((source) => source in all);
  if (name !== undefined) return filledText(name, all[name]);
  throw unknownShape(fields, `a text to read: ${PAIR_SHAPES}`);
}

/** Fields with those of `translation` beside them, and its own names where there is one. */
function withTranslation(fields: Fields): { all: Fields; languages: readonly string[] | null } {
  const { translation } = fields;
  if (!isJsonObject(translation)) return { all: fields, languages: null };
  return { all: { ...fields, ...translation }, languages: Object.keys(translation) };
}

function namesOf(
  fields: Fields,
  { sourceField, targetField }: PairFields,
  languages: readonly string[] | null,
): readonly [string, string] {
  if (sourceField !== undefined && targetField !== undefined) return [sourceField, targetField];
  const found = PAIRS.filter((names) => names.every((name) => name in fields)).filter(([source, target]) =>
    source === (sourceField ?? source) && target === (targetField ?? target)
  );
  const [pair, ...others] = found;
  const choose = "choose with --source-field and --target-field";
  if (languages !== null && pair === undefined) {
    throw new RowError(
      "unknown shape",
      `"translation" has ${
        languages.map((name) => `"${name}"`).join(", ")
      }: ${choose} what is read and what is written`,
    );
  }
  if (pair === undefined) throw unknownShape(fields, PAIR_SHAPES);
  if (others.length > 0) {
    const pairs = found.map((names) => `{${names.join(", ")}}`).join(" and ");
    throw new RowError("unknown shape", `the row has both ${pairs}: ${choose}`);
  }
  const asked = ASKS.find((name) => fields[name] !== undefined && fields[name] !== "");
  if (asked !== undefined && pair[0] !== "source") {
    throw new RowError(
      "unsupported field",
      `the row has "${asked}" beside "${
        pair[0]
      }": write what the model is to read as {source, target}, or ${choose}`,
    );
  }
  return pair;
}

function targetsOf(name: string, value: unknown): readonly string[] {
  if (!Array.isArray(value)) return [filledText(name, value)];
  if (value.length === 0) throw new RowError("empty", `"${name}" is an empty list`);
  return value.map((one, i) => filledText(`${name}[${i}]`, one));
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Rows of questions with choices, as published sets have them, and the words in which the lm-evaluation-harness asks them: ARC,
 * OpenBookQA, PIQA, SciQ, and a plain shape.
 */
import { quotedNames, quotedValue } from "../core/quoted.ts";
import { isJsonObject } from "../core/json.ts";
import { RowError } from "../data/row_error.ts";
import { type Fields, filledText, unknownShape } from "../data/row_fields.ts";

/** A question with its choices. */
export interface ChoiceRow {
  /** What stands before a choice and the space before that. */
  readonly context: string;
  readonly choices: readonly string[];
  /** Number of the right one. */
  readonly answer: number;
}

/** The accepted shapes, as messages name them. */
export const CHOICE_SHAPES =
  "{question, choices, answer}, ARC's {question, choices: {text, label}, answerKey}, OpenBookQA's {question_stem, choices, " +
  "answerKey}, PIQA's {goal, sol1, sol2, label} or SciQ's {question, support, correct_answer, distractor1, …}";

/**
 * A row's question, in the order of its shapes; other fields are passed over.
 *
 * @throws {RowError} Names the field, its value and what is expected
 */
export function choiceRow(fields: Fields): ChoiceRow {
  if ("goal" in fields && "sol1" in fields) return piqaRow(fields);
  if ("correct_answer" in fields && "distractor1" in fields) return sciqRow(fields);
  if ("question_stem" in fields) {
    return keyedRow(text(fields, "question_stem"), fields["choices"], fields["answerKey"]);
  }
  const { question } = fields;
  if ("answerKey" in fields && isJsonObject(question)) {
    return keyedRow(asked(text(question, "stem")), question["choices"], fields["answerKey"]);
  }
  if ("answerKey" in fields) {
    return keyedRow(asked(text(fields, "question")), fields["choices"], fields["answerKey"]);
  }
  if ("question" in fields && "choices" in fields && "answer" in fields) return plainRow(fields);
  throw unknownShape(fields, CHOICE_SHAPES);
}

function asked(question: string): string {
  return `Question: ${question}\nAnswer:`;
}

function piqaRow(fields: Fields): ChoiceRow {
  const choices = [text(fields, "sol1"), text(fields, "sol2")];
  return {
    context: asked(text(fields, "goal")),
    choices,
    answer: numberOf("label", fields["label"], choices),
  };
}

/** The right one comes last, as the harness has it. */
function sciqRow(fields: Fields): ChoiceRow {
  const wrong = Object.keys(fields).filter((name) => /^distractor\d+$/.test(name)).sort();
  const choices = [...wrong, "correct_answer"].map((name) => text(fields, name));
  const support = typeof fields["support"] === "string" ? fields["support"].trimStart() : "";
  return { context: `${support}\n${asked(text(fields, "question"))}`, choices, answer: choices.length - 1 };
}

/** Choices as `{text: […], label: […]}` or `[{text, label}]`, and the label of the right one. */
function keyedRow(context: string, given: unknown, key: unknown): ChoiceRow {
  const pairs = pairsOf(given);
  const answer = pairs.findIndex(([label]) => label === String(key));
  if (answer >= 0) return { context, choices: pairs.map(([, choice]) => choice), answer };
  const labels = quotedNames(pairs.map(([label]) => label), 20);
  throw new RowError("unknown label", `"answerKey" is ${quotedValue(key)}, expected one of ${labels}`);
}

function pairsOf(given: unknown): (readonly [label: string, choice: string])[] {
  const list = isJsonObject(given) && Array.isArray(given["text"]) && Array.isArray(given["label"])
    ? given["text"].map((choice, i) => ({ text: choice, label: (given["label"] as unknown[])[i] }))
    : given;
  if (!Array.isArray(list) || list.length < 2) {
    throw new RowError(
      "wrong type",
      `"choices" is ${quotedValue(given)}, expected two or more with text and label`,
    );
  }
  return list.map((one: unknown) => {
    const pair = isJsonObject(one) ? one : {};
    return [String(pair["label"]), text(pair, "text")] as const;
  });
}

/** Choices as texts, and the right one by its number, its letter or itself. */
function plainRow(fields: Fields): ChoiceRow {
  const { choices } = fields;
  if (
    !Array.isArray(choices) || choices.length < 2 || !choices.every((choice) => typeof choice === "string")
  ) {
    throw new RowError("wrong type", `"choices" is ${quotedValue(choices)}, expected two texts or more`);
  }
  return {
    context: asked(text(fields, "question")),
    choices,
    answer: numberOf("answer", fields["answer"], choices),
  };
}

function numberOf(name: string, given: unknown, choices: readonly string[]): number {
  const letter = typeof given === "string" && /^[A-Z]$/.test(given) ? given.charCodeAt(0) - 65 : -1;
  const own = choices.indexOf(String(given));
  const number = typeof given === "number" ? given : own >= 0 ? own : letter;
  if (Number.isInteger(number) && number >= 0 && number < choices.length) return number;
  throw new RowError(
    "unknown label",
    `"${name}" is ${quotedValue(given)}, expected a number from 0 to ${
      choices.length - 1
    }, a letter or one of the choices`,
  );
}

function text(fields: Fields, name: string): string {
  return filledText(name, fields[name]);
}

// SPDX-License-Identifier: Apache-2.0
/** Which head a model has: what `architectures` names, with the labels that `config.json` gives it; or what is asked for. */
import { quotedValue } from "../../core/quoted.ts";
import { type ConfigFields, isRecord, problem, rawField } from "../config_fields.ts";
import type { Head } from "../parts.ts";

/** Kinds of heads. */
export type HeadKind = Head["kind"];

/** A head as it is chosen before there are weights. */
export type HeadConfig =
  | { readonly kind: "lm" | "masked-lm" }
  | {
    readonly kind: "classification";
    readonly gives: "classes" | "values";
    /** Names of the classes by their number, `id2label`; one that nobody reads for a value. */
    readonly labels: readonly string[];
    /** Whether the checkpoint is of a model without a head, in whose place this one is read. Default: no. */
    readonly assumed?: boolean;
    /** Whether what gives its outputs starts anew, or is an adapter's, whatever head the checkpoint has. Default: no. */
    readonly fresh?: boolean;
  };

/** The head of a language model. */
export const LM_HEAD: HeadConfig = { kind: "lm" };

/** Whether a head gives tokens of the vocabulary: then it may be the embedding. */
export function givesTokens({ kind }: { readonly kind: HeadKind }): boolean {
  return kind !== "classification";
}

/** What transformers calls the heads' problems. */
export const PROBLEM_TYPES = {
  classes: "single_label_classification",
  values: "regression",
} as const;

/** Labels of a model that says how many there are, or nothing: transformers' own names. */
function numbered(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `LABEL_${i}`);
}

/** A head of which only the number of labels is known: with one it gives a value, as in transformers. */
export function numberedHead(count: number): Extract<HeadConfig, { readonly kind: "classification" }> {
  return { kind: "classification", gives: count === 1 ? "values" : "classes", labels: numbered(count) };
}

/** A head that was written as JSON; null for what is none. */
export function readHeadText(text: string): HeadConfig | null {
  const value = jsonOf(text);
  if (!isRecord(value)) return null;
  const { kind, gives, labels, fresh } = value;
  if (kind === "lm") return LM_HEAD;
  const isLabels = Array.isArray(labels) && labels.length > 0 &&
    labels.every((label) => typeof label === "string");
  if (kind !== "classification" || !isLabels || (gives !== "classes" && gives !== "values")) return null;
  return { kind, gives, labels, ...(fresh === true && { fresh }) };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

/** Labels of a head that a configuration does not name, as transformers has it. */
const DEFAULT_LABELS = 2;

/**
 * The head of a kind with what `config.json` says of it. With one label and no other word transformers compares values.
 *
 * @mutates fields
 */
export function readHead(fields: ConfigFields, kind: HeadKind): HeadConfig {
  if (kind !== "classification") return { kind };
  const labels = readLabels(fields);
  const type = rawField(fields, "problem_type") ?? null;
  const gives = type === null ? (labels.length === 1 ? "values" : "classes") : givenBy(type);
  if (gives === null) {
    const known = Object.values(PROBLEM_TYPES).map((name) => `"${name}"`).join(" or ");
    return problem(fields, "problem_type", `${known}, nothing else is supported`, {
      kind,
      gives: "classes",
      labels,
    });
  }
  if (gives === "values" && labels.length !== 1) {
    return problem(
      fields,
      "problem_type",
      `"${PROBLEM_TYPES.classes}" for ${labels.length} labels: one value is supported`,
      { kind, gives: "classes", labels },
    );
  }
  return { kind, gives, labels };
}

function givenBy(type: unknown): "classes" | "values" | null {
  if (type === PROBLEM_TYPES.classes) return "classes";
  return type === PROBLEM_TYPES.values ? "values" : null;
}

/** `{"0": "negative", "1": "positive"}`, by number. @mutates fields */
function readLabels(fields: ConfigFields): readonly string[] {
  const names = rawField(fields, "id2label") ?? null;
  rawField(fields, "label2id");
  const count = rawField(fields, "num_labels") ?? null;
  if (names === null) {
    if (count === null) return numbered(DEFAULT_LABELS);
    if (Number.isSafeInteger(count) && (count as number) > 0) return numbered(count as number);
    return problem(fields, "num_labels", "how many labels there are", numbered(DEFAULT_LABELS));
  }
  const labels = isRecord(names) ? Object.keys(names).map((_, i) => names[String(i)]) : [];
  if (labels.length > 0 && labels.every((label) => typeof label === "string")) return labels;
  const wanted = 'a name for each number from 0, such as {"0": "negative", "1": "positive"}';
  return problem(fields, "id2label", wanted, numbered(DEFAULT_LABELS));
}

/**
 * The kind of head that `architectures` names. transformers takes the class that `model_type` names, whatever stands there; a
 * class with a head that is not known is refused, as its weights would be passed over.
 *
 * @param heads Of a family, by architecture: the first is what `model_type` stands for @mutates fields
 */
export function readHeadKind(fields: ConfigFields, heads: Readonly<Record<string, HeadKind>>): HeadKind {
  const [[first, usual] = ["", "lm" as const]] = Object.entries(heads);
  const given = rawField(fields, "architectures") ?? [];
  const names = (Array.isArray(given) ? given : [given]).map((name: unknown) => String(name).toLowerCase());
  const named = Object.entries(heads).find(([architecture]) => names.includes(architecture.toLowerCase()));
  if (named !== undefined) return named[1];
  if (names.length === 0 || names.includes(first.replace(/For\w+$|LMHeadModel$/, "Model").toLowerCase())) {
    return usual;
  }
  if (names.some((name) => /(forcausallm|formaskedlm|forpretraining|lmheadmodel|model)$/.test(name))) {
    fields.warnings.push(
      `Field "architectures" is ${quotedValue(given)}: read as ${first}, which model_type stands for`,
    );
    return usual;
  }
  const known = Object.keys(heads).map((name) => `"${name}"`).join(" or ");
  return problem(fields, "architectures", `[${known}], nothing else is supported`, usual);
}

// SPDX-License-Identifier: Apache-2.0
/** What every family reads from `config.json`, and in the same way. */
import { quotedValue } from "../../core/quoted.ts";
import type { ActivationKind } from "../../ops/kernels/model.ts";
import {
  booleanField,
  type ConfigFields,
  givenField,
  integerField,
  isPresent,
  isRecord,
  numberField,
  ownName,
  problem,
  rawField,
  tokenIdsField,
} from "../config_fields.ts";
import { readHead, readHeadKind } from "../heads/head_config.ts";
import type { ModelConfig } from "../model.ts";
import type { Family } from "./family.ts";

/** What stands for missing fields, where families differ: transformers' own defaults. */
export interface CommonDefaults {
  readonly maxPositionEmbeddings: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
  /** Default: no. */
  readonly tieWordEmbeddings?: boolean;
  /** Whether it has an encoder beside its decoder. Default: no. */
  readonly isEncoderDecoder?: boolean;
}

/** Beyond any model there is, and what memory and arithmetic can bear: larger numbers are mistakes. */
export const MOST = { layers: 10_000, heads: 1 << 20, headDim: 1 << 16, size: 2 ** 31 - 1 };

/** Fields that switch on another kind of model, and their only supported value beside null. */
const MUST_BE_OFF: Readonly<Record<string, boolean>> = {
  add_cross_attention: false,
  tie_encoder_decoder: false,
  use_mrope: false,
  rope_interleaved: false,
};

/** Activations by the names that transformers has for them. */
const ACTIVATIONS: Readonly<Record<string, ActivationKind>> = {
  silu: "silu",
  swish: "silu",
  gelu: "gelu",
  gelu_python: "gelu",
  gelu_new: "gelu_tanh",
  gelu_fast: "gelu_tanh",
  gelu_accurate: "gelu_tanh",
  gelu_pytorch_tanh: "gelu_tanh",
  gelu_python_tanh: "gelu_tanh",
  quick_gelu: "quick_gelu",
  relu: "relu",
  tanh: "tanh",
  sigmoid: "sigmoid",
};

/** What is asked of every family, of those without a vocabulary too. */
export type ModelBasics = Pick<
  ModelConfig,
  "modelType" | "head" | "hiddenSize" | "numHiddenLayers" | "initializerRange"
>;

/** @mutates fields */
export function readBasics(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  isEncoderDecoder = false,
): ModelBasics {
  const head = readHead(fields, readHeadKind(fields, family.heads));
  checkKind(fields, isEncoderDecoder);
  return {
    modelType: family.modelType,
    head,
    hiddenSize: sizeField(fields, "hidden_size"),
    numHiddenLayers: sizeField(fields, "num_hidden_layers", MOST.layers),
    initializerRange: numberField(fields, "initializer_range", { min: 0, missing: 0.02 }),
  };
}

/** @mutates fields */
export function readCommonConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  defaults: CommonDefaults,
): ModelConfig {
  const basics = readBasics(fields, family, defaults.isEncoderDecoder);
  const vocabSize = sizeField(fields, "vocab_size");
  const maxPositionEmbeddings = isPresent(fields, "max_position_embeddings")
    ? sizeField(fields, "max_position_embeddings")
    : byDefault(fields, "max_position_embeddings", defaults.maxPositionEmbeddings);
  const tokens = (name: string, missing: number | null): number[] =>
    isPresent(fields, name) || missing === null || missing >= vocabSize
      ? tokenIdsField(fields, name, vocabSize)
      : [missing];
  return {
    ...basics,
    vocabSize,
    maxPositionEmbeddings,
    tieWordEmbeddings: booleanField(fields, "tie_word_embeddings", defaults.tieWordEmbeddings ?? false),
    padTokenId: padTokenId(rawField(fields, "pad_token_id"), vocabSize),
    bosTokenId: tokens("bos_token_id", defaults.bosTokenId)[0] ?? null,
    eosTokenIds: tokens("eos_token_id", defaults.eosTokenId),
  };
}

/** A number of things, at least 1. @mutates fields */
export function sizeField(fields: ConfigFields, name: string, max = MOST.size): number {
  return integerField(fields, name, { min: 1, max });
}

/** What transformers takes for a field that is not there; its user is told. @mutates fields.warnings */
export function byDefault(fields: ConfigFields, name: string, value: number): number {
  fields.warnings.push(
    `Field "${ownName(fields, name)}" is missing: ${value} is taken, as transformers does for this family`,
  );
  return value;
}

/** An activation by transformers' name for it. @param among Those that are supported; all when absent. @mutates fields */
export function activationField(
  fields: ConfigFields,
  name: string,
  missing: string,
  among: readonly string[] = Object.keys(ACTIVATIONS),
): ActivationKind {
  const value = rawField(fields, name) ?? missing;
  const kind = typeof value === "string" && among.includes(value) ? ACTIVATIONS[value] : undefined;
  if (kind !== undefined) return kind;
  const wanted = among.map((choice) => `"${choice}"`).join(" or ");
  return problem(fields, name, `${wanted}, nothing else is supported`, "identity");
}

/** Number and size of heads that share the width of the stream. @mutates fields */
export function readHeads(
  fields: ConfigFields,
  hiddenSize: number,
): { readonly numAttentionHeads: number; readonly headDim: number } {
  const before = fields.problems.length;
  const numAttentionHeads = integerField(fields, "num_attention_heads", { min: 1, max: MOST.heads });
  const headDim = hiddenSize / numAttentionHeads;
  const isRead = fields.problems.length === before && givenField(fields, "hidden_size") === hiddenSize;
  if (isRead && !(Number.isInteger(headDim) && headDim <= MOST.headDim)) {
    problem(fields, "num_attention_heads", `a divisor of the hidden size ${hiddenSize}`, null);
  }
  return { numAttentionHeads, headDim };
}

/** @mutates fields */
function checkKind(fields: ConfigFields, isEncoderDecoder: boolean): void {
  rawField(fields, "model_type");
  checkTypes(fields);
  const quantization = rawField(fields, "quantization_config") ?? null;
  if (quantization !== null && !(isRecord(quantization) && Object.keys(quantization).length === 0)) {
    const advice = "nothing, as quantized checkpoints are not supported: " +
      "use the f32, bf16 or f16 checkpoint that it was made from";
    problem(fields, "quantization_config", advice, null);
  }
  const kind = { ...MUST_BE_OFF, is_encoder_decoder: isEncoderDecoder };
  for (const [name, only] of Object.entries(kind)) {
    if (booleanField(fields, name, only) !== only) problem(fields, name, String(only), null);
  }
}

/** The type of the weights under its two names, which newer and older readers would take differently. @mutates fields */
function checkTypes(fields: ConfigFields): void {
  const [newer, older] = ["dtype", "torch_dtype"].map((name) => rawField(fields, name) ?? null);
  if (newer === null || older === null) return;
  const plain = (value: unknown) => String(value).replace("torch.", "");
  if (plain(newer) !== plain(older)) {
    problem(fields, "torch_dtype", `${quotedValue(newer)}, as dtype says`, null);
  }
}

/** Older checkpoints say -1 for none. */
function padTokenId(given: unknown, vocabSize: number): number | null {
  const isToken = Number.isSafeInteger(given) && (given as number) >= 0 && (given as number) < vocabSize;
  return isToken ? given as number : null;
}

// SPDX-License-Identifier: Apache-2.0
/** What all families read from `config.json` in the same way. */
import { quotedValue } from "../../core/quoted.ts";
import {
  booleanField,
  choiceField,
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
import type { Family } from "./family.ts";
import { readHead, readHeadKind } from "../heads/head_config.ts";
import type { ModelConfig } from "../model.ts";
import { ropeFrequencies } from "../rope.ts";
import { readRope } from "../rope_config.ts";

/** What of a configuration is alike in all families. */
export type SharedConfig = Omit<ModelConfig, "slidingWindows" | "attentionBias" | "mlpBias" | "headNorms">;

/** What stands for missing fields, where families differ: transformers' own defaults. */
export interface SharedDefaults {
  /** Null: as many as there are heads. A field that is null means that in every family. */
  readonly numKeyValueHeads: number | null;
  /** Null: hidden size / heads. */
  readonly headDim: number | null;
  readonly maxPositionEmbeddings: number;
  readonly bosTokenId: number | null;
  readonly eosTokenId: number | null;
}

/** What transformers takes for a missing `rms_norm_eps`, in all families. */
const DEFAULT_EPS = 1e-6;

/** Beyond any model there is, and what memory and arithmetic can bear: larger numbers are mistakes. */
const MOST = { layers: 10_000, heads: 1 << 20, headDim: 1 << 16, size: 2 ** 31 - 1, parameters: 1e14 };

/** Fields that switch on another kind of model, and their only supported value beside null. */
const MUST_BE_OFF: Readonly<Record<string, boolean>> = {
  is_encoder_decoder: false,
  add_cross_attention: false,
  tie_encoder_decoder: false,
  use_mrope: false,
  rope_interleaved: false,
};

/** @mutates fields */
export function readSharedConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  defaults: SharedDefaults,
): SharedConfig {
  const head = readHead(fields, readHeadKind(fields, family.heads));
  checkKind(fields);
  const count = (name: string, max = MOST.size) => integerField(fields, name, { min: 1, max });
  const hiddenSize = count("hidden_size");
  const heads = readHeads(fields, hiddenSize, defaults);
  const vocabSize = count("vocab_size");
  const maxPositionEmbeddings = isPresent(fields, "max_position_embeddings")
    ? count("max_position_embeddings")
    : byDefault(fields, "max_position_embeddings", defaults.maxPositionEmbeddings);
  const tokens = (name: string, missing: number | null): number[] =>
    isPresent(fields, name) || missing === null || missing >= vocabSize
      ? tokenIdsField(fields, name, vocabSize)
      : [missing];
  const config = {
    modelType: family.modelType,
    head,
    hiddenSize,
    intermediateSize: count("intermediate_size"),
    numHiddenLayers: count("num_hidden_layers", MOST.layers),
    ...heads,
    vocabSize,
    maxPositionEmbeddings,
    rmsNormEps: isPresent(fields, "rms_norm_eps")
      ? numberField(fields, "rms_norm_eps", { above: 0 })
      : byDefault(fields, "rms_norm_eps", DEFAULT_EPS),
    ...readRope(fields, { maxPositionEmbeddings, headDim: heads.headDim }),
    tieWordEmbeddings: booleanField(fields, "tie_word_embeddings", false),
    padTokenId: padTokenId(rawField(fields, "pad_token_id"), vocabSize),
    initializerRange: numberField(fields, "initializer_range", { min: 0, missing: 0.02 }),
    bosTokenId: tokens("bos_token_id", defaults.bosTokenId)[0] ?? null,
    eosTokenIds: tokens("eos_token_id", defaults.eosTokenId),
  };
  if (fields.problems.length === 0) {
    checkTotal(fields, config);
    checkRope(fields, config);
  }
  return config;
}

/** What transformers takes for a field that is not there; its user is told. @mutates fields.warnings */
function byDefault(fields: ConfigFields, name: string, value: number): number {
  fields.warnings.push(
    `Field "${ownName(fields, name)}" is missing: ${value} is taken, as transformers does for this family`,
  );
  return value;
}

/** @mutates fields */
function checkKind(fields: ConfigFields): void {
  rawField(fields, "model_type");
  checkTypes(fields);
  choiceField(fields, "hidden_act", ["silu", "swish"]);
  const quantization = rawField(fields, "quantization_config") ?? null;
  if (quantization !== null && !(isRecord(quantization) && Object.keys(quantization).length === 0)) {
    const advice = "nothing, as quantized checkpoints are not supported: " +
      "use the f32, bf16 or f16 checkpoint that it was made from";
    problem(fields, "quantization_config", advice, null);
  }
  for (const [name, off] of Object.entries(MUST_BE_OFF)) {
    if (booleanField(fields, name, off) !== off) problem(fields, name, String(off), null);
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

/** Their number and size; what does not fit is said of sizes that are right by themselves. @mutates fields */
function readHeads(
  fields: ConfigFields,
  hiddenSize: number,
  defaults: SharedDefaults,
): Pick<ModelConfig, "numAttentionHeads" | "numKeyValueHeads" | "headDim"> {
  const name = "num_key_value_heads";
  const before = fields.problems.length;
  const heads = integerField(fields, "num_attention_heads", { min: 1, max: MOST.heads });
  const missing = isPresent(fields, name) ? heads : defaults.numKeyValueHeads ?? heads;
  const kvHeads = integerField(fields, name, { min: 1, missing });
  const headDim =
    integerField(fields, "head_dim", { min: 1, max: MOST.headDim, missing: defaults.headDim }) ??
      hiddenSize / heads;
  // Where a size is no size, what follows from it says nothing.
  if (fields.problems.length === before && givenField(fields, "hidden_size") === hiddenSize) {
    if (heads % kvHeads !== 0) {
      problem(fields, name, `a divisor of the ${heads} of num_attention_heads`, null);
    }
    const wanted = headDimProblem(hiddenSize, heads, headDim);
    if (wanted !== null) problem(fields, "head_dim", wanted, null);
  }
  return { numAttentionHeads: heads, numKeyValueHeads: kvHeads, headDim };
}

/** What it should be instead; null when it is right. */
function headDimProblem(hiddenSize: number, heads: number, headDim: number): string | null {
  if (!Number.isInteger(headDim)) {
    return `a value, because ${heads} heads do not divide the hidden size ${hiddenSize}`;
  }
  if (headDim > MOST.headDim) {
    return `a value: ${hiddenSize} / ${heads} is more than the ${MOST.headDim} allowed`;
  }
  return headDim % 2 === 0 ? null : `an even number, not ${headDim}`;
}

/** Sizes that are possible each, and together make a model that is not. @mutates fields.problems */
function checkTotal(fields: ConfigFields, config: Omit<SharedConfig, "ropeScaling">): void {
  const { hiddenSize, intermediateSize, headDim, numAttentionHeads, numKeyValueHeads, vocabSize } = config;
  const layer = hiddenSize * (2 * headDim * (numAttentionHeads + numKeyValueHeads) + 3 * intermediateSize);
  const parameters = 2 * vocabSize * hiddenSize + config.numHiddenLayers * layer;
  if (parameters <= MOST.parameters) return;
  fields.problems.push(
    `hidden_size ${hiddenSize}, intermediate_size ${intermediateSize}, vocab_size ${vocabSize}, ` +
      `${config.numHiddenLayers} layers and ${numAttentionHeads} heads of ${headDim} make ` +
      `${parameters.toPrecision(3)} parameters, more than the ${MOST.parameters} allowed`,
  );
}

/** Parameters that are possible each, and make no angles together. @mutates fields.problems */
function checkRope(fields: ConfigFields, config: SharedConfig): void {
  const sound = [0, config.maxPositionEmbeddings].every((length) => {
    const { inverse, attentionFactor } = ropeFrequencies(config, length);
    return Number.isFinite(attentionFactor) && inverse.every((w) => Number.isFinite(w));
  });
  if (sound) return;
  fields.problems.push(
    `rope_theta ${config.ropeTheta} and the rope scaling ${
      quotedValue(config.ropeScaling)
    } give angles that are no numbers`,
  );
}

// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the rotary embedding's fields: `rope_theta` and `rope_scaling` (with `rope_type` or the older `type`), or the
 * newer `rope_parameters` that holds both.
 */
import {
  booleanField,
  type ConfigFields,
  configFields,
  integerField,
  isRecord,
  numberField,
  problem,
  rawField,
  reportUnknown,
} from "./config_fields.ts";
import type { RopeScaling } from "./model.ts";

/** What transformers takes for a missing `rope_theta`. */
const DEFAULT_THETA = 10000;

/** Fields of scalings that say where a checkpoint comes from, not what it computes. */
const SAYS_NOTHING: ReadonlySet<string> = new Set(["finetuned"]);

/** @mutates fields */
export function readRope(
  fields: ConfigFields,
  maxPositionEmbeddings: number,
): { ropeTheta: number; ropeScaling: RopeScaling | null } {
  const outerTheta = numberField(fields, "rope_theta", { above: 0, missing: DEFAULT_THETA });
  const outerOriginal = integerField(fields, "original_max_position_embeddings", { min: 1, missing: null });
  const name = (rawField(fields, "rope_scaling") ?? null) !== null ? "rope_scaling" : "rope_parameters";
  const record = rawField(fields, name) ?? rawField(fields, "rope_parameters") ?? null;
  if (record === null) return { ropeTheta: outerTheta, ropeScaling: null };
  if (!isRecord(record)) {
    return { ropeTheta: outerTheta, ropeScaling: problem(fields, name, "an object or null", null) };
  }
  rawField(fields, "rope_parameters");
  const rope = configFields(record, fields.problems, `${name}.`);
  const ropeTheta = numberField(rope, "rope_theta", { above: 0, missing: outerTheta });
  if (numberField(rope, "partial_rotary_factor", { missing: 1 }) !== 1) {
    problem(rope, "partial_rotary_factor", "1, nothing else is supported", null);
  }
  // The field beside the record wins over the one inside, and the full length stands for both.
  const original = integerField(rope, "original_max_position_embeddings", {
    min: 1,
    missing: maxPositionEmbeddings,
  });
  const ropeScaling = readScaling(rope, outerOriginal ?? original, maxPositionEmbeddings);
  reportUnknown(rope, SAYS_NOTHING);
  return { ropeTheta, ropeScaling };
}

function readScaling(rope: ConfigFields, original: number, maxPositions: number): RopeScaling | null {
  const older = rawField(rope, "type");
  const type: unknown = rawField(rope, "rope_type") ?? older ?? "default";
  const atLeastOne = (name: string) => numberField(rope, name, { min: 1 });
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type, factor: atLeastOne("factor") };
    case "dynamic":
      // Stretches beyond the configured length, whatever original length is named: so does transformers.
      return { type, factor: atLeastOne("factor"), originalMaxPositionEmbeddings: maxPositions };
    case "llama3":
      return readLlama3(rope, atLeastOne("factor"), original);
    case "yarn":
      return {
        type,
        factor: numberField(rope, "factor", { min: 1, missing: maxPositions / original }),
        originalMaxPositionEmbeddings: original,
        attentionFactor: numberField(rope, "attention_factor", { min: 0, missing: null }),
        betaFast: numberField(rope, "beta_fast", { above: 0, missing: 32 }),
        betaSlow: numberField(rope, "beta_slow", { above: 0, missing: 1 }),
        mscale: numberField(rope, "mscale", { missing: null }),
        mscaleAllDim: numberField(rope, "mscale_all_dim", { missing: null }),
        truncate: booleanField(rope, "truncate", true),
      };
    default:
      return problem(rope, "rope_type" in rope.values ? "rope_type" : "type", SUPPORTED_TYPES, null);
  }
}

const SUPPORTED_TYPES = `"default", "linear", "dynamic", "llama3" or "yarn", nothing else is supported`;

function readLlama3(rope: ConfigFields, factor: number, originalMaxPositionEmbeddings: number): RopeScaling {
  const lowFreqFactor = numberField(rope, "low_freq_factor", { above: 0 });
  const highFreqFactor = numberField(rope, "high_freq_factor", { above: 0 });
  if (!(highFreqFactor > lowFreqFactor)) {
    problem(rope, "high_freq_factor", `more than the ${lowFreqFactor} of low_freq_factor`, null);
  }
  return { type: "llama3", factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings };
}

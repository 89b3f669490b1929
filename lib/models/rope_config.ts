// SPDX-License-Identifier: Apache-2.0
/**
 * Reads the rotary embedding's fields as transformers does: `rope_theta` and `rope_scaling` (with `rope_type` or the older
 * `type`), or the newer `rope_parameters` that holds both.
 */
import { jsonDifferences, type JsonObject } from "../core/json.ts";
import { quotedNames } from "../core/quoted.ts";
import {
  booleanField,
  type ConfigFields,
  configFields,
  integerField,
  isRecord,
  numberField,
  problem,
  rawField,
} from "./config_fields.ts";
import type { RopeScaling, Rotary } from "./rotary.ts";
import { isOff } from "./same_fields.ts";
import { refuseUnknown } from "./unknown_fields.ts";

/** What transformers takes for a missing `rope_theta`, in most families. */
const DEFAULT_THETA = 10000;

/** Of a length that positions can have. */
const ORIGINAL = { min: 1, max: 2 ** 31 - 1, missing: null };

/** Fields of scalings that say where a checkpoint comes from, not what it computes. */
const SAYS_NOTHING = ["finetuned", "type", "rope_type"];

/**
 * Fields of some scaling, or of other engines', that transformers passes over where the type has no use for them, with a
 * warning, as we do.
 */
const PASSED_OVER = [
  ...["factor", "attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "truncate"],
  ...["low_freq_factor", "high_freq_factor", "short_factor", "long_factor", "mrope_section"],
  ...["attn_factor", "extrapolation_factor", "short_mscale", "long_mscale", "max_position_embeddings"],
];

/** What of the configuration scalings depend on. */
export interface RopeSizes {
  readonly maxPositionEmbeddings: number;
  readonly headDim: number;
  /** In the place of a missing `rope_theta`. Default: 10,000. */
  readonly ropeTheta?: number | undefined;
  /** In the place of a missing `original_max_position_embeddings` beside the scaling. Default: that of the scaling. */
  readonly original?: number | undefined;
  /** Types of scaling that the family has. Default: all. */
  readonly types?: readonly string[] | undefined;
  /** Types of scaling that mean another in the family: what `yarn` is to phi3. */
  readonly typeAliases?: Readonly<Record<string, string>> | undefined;
  /** Whether the family has heads that turn in part, by `partial_rotary_factor`. Default: no. */
  readonly partial?: boolean | undefined;
}

/** @mutates fields */
export function readRope(
  fields: ConfigFields,
  sizes: RopeSizes,
): Omit<Rotary, "maxPositionEmbeddings"> {
  const outerTheta = numberField(fields, "rope_theta", {
    above: 0,
    missing: sizes.ropeTheta ?? DEFAULT_THETA,
  });
  const outerOriginal = integerField(fields, "original_max_position_embeddings", ORIGINAL);
  const share = partialFactor(fields, sizes);
  const name = isOff(rawField(fields, "rope_scaling")) ? "rope_parameters" : "rope_scaling";
  const record = fields.values[name];
  if (name === "rope_scaling" && !isOff(fields.values["rope_parameters"])) checkSame(fields);
  if (isOff(rawField(fields, "rope_parameters")) && isOff(record)) {
    return { ropeTheta: outerTheta, ropeScaling: null, rotaryDim: turning(fields, sizes, share ?? 1) };
  }
  if (!isRecord(record)) {
    const ropeScaling = problem(fields, name, "an object or null", null);
    return { ropeTheta: outerTheta, ropeScaling, rotaryDim: sizes.headDim };
  }
  const rope = configFields(record, fields, { prefix: `${name}.` });
  const ropeTheta = numberField(rope, "rope_theta", { above: 0, missing: outerTheta });
  // The field beside the record wins over the one inside, and the full length stands for both.
  const inner = integerField(rope, "original_max_position_embeddings", ORIGINAL);
  const original = outerOriginal ?? sizes.original ?? inner ?? sizes.maxPositionEmbeddings;
  const isProportional = [rope.values["rope_type"], rope.values["type"]].includes("proportional");
  const innerShare = isProportional ? null : partialFactor(rope, sizes);
  const rotaryDim = turning(fields, sizes, innerShare ?? share ?? 1);
  const ropeScaling = readScaling(rope, original, { ...sizes, rotaryDim });
  reportRest(rope);
  return { ropeTheta, ropeScaling, rotaryDim };
}

/** Numbers of a head that turn. @mutates fields.problems */
function turning(fields: ConfigFields, { headDim }: RopeSizes, share: number): number {
  const rotaryDim = Math.floor(headDim * share);
  if (rotaryDim % 2 === 0 || share === 1) return rotaryDim;
  return problem(
    fields,
    "partial_rotary_factor",
    `a share of the ${headDim} of a head that is even`,
    headDim,
  );
}

/** One scaling under two names; where they differ, other readers take the other. @mutates fields.problems */
function checkSame(fields: ConfigFields): void {
  const { rope_scaling: older, rope_parameters: newer } = fields.values;
  if (!isRecord(older) || !isRecord(newer)) return;
  const typed = ({ type, rope_type = type, ...others }: Record<string, unknown>): JsonObject => ({
    ...(others as JsonObject),
    rope_type: (rope_type ?? "default") as string,
  });
  // What one of them leaves out, it may leave to the fields beside it.
  const differing = jsonDifferences(typed(older), typed(newer)).filter(({ before, after }) =>
    before !== undefined && after !== undefined
  );
  if (differing.length === 0) return;
  const names = quotedNames(differing.map(({ path }) => path));
  problem(fields, "rope_scaling", `what rope_parameters says of ${names}: keep one of them`, null);
}

/** Null for the plain embedding. @mutates rope */
function readScaling(
  rope: ConfigFields,
  original: number,
  sizes: RopeSizes & Pick<Rotary, "rotaryDim">,
): RopeScaling | null {
  const older = rawField(rope, "type");
  const given: unknown = rawField(rope, "rope_type") ?? older ?? "default";
  const type: unknown = sizes.typeAliases?.[String(given)] ?? given;
  if (sizes.types?.includes(String(type)) === false) {
    const wanted = sizes.types.map((name) => `"${name}"`).join(" or ");
    const name = "rope_type" in rope.values ? "rope_type" : "type";
    return problem(rope, name, `${wanted}, nothing else is supported`, null);
  }
  const factor = () => numberField(rope, "factor", { above: 0 });
  switch (type) {
    case "default":
      return null;
    case "linear":
      return { type, factor: factor() };
    case "dynamic":
      // Stretches beyond the configured length, whatever original length is named: so does transformers.
      return { type, factor: factor(), originalMaxPositionEmbeddings: sizes.maxPositionEmbeddings };
    case "proportional":
      return {
        type,
        factor: numberField(rope, "factor", { above: 0, missing: 1 }),
        partialRotaryFactor: numberField(rope, "partial_rotary_factor", { min: 0, max: 1, missing: 1 }),
      };
    case "llama3":
      return readLlama3(rope, factor(), original);
    case "yarn":
      return readYarn(rope, original, sizes);
    // What Phi-3 called it before it was published.
    case "su":
    case "longrope":
      return readLongrope(rope, original, sizes);
    default:
      return problem(rope, "rope_type" in rope.values ? "rope_type" : "type", SUPPORTED_TYPES, null);
  }
}

const SUPPORTED_TYPES = `"default", "linear", "dynamic", "llama3", "yarn", "longrope" or "proportional", ` +
  "nothing else is supported";

/** Null where it is not given. @mutates fields */
function partialFactor(fields: ConfigFields, { partial }: RopeSizes): number | null {
  if (partial === true) {
    return numberField(fields, "partial_rotary_factor", { above: 0, max: 1, missing: null });
  }
  if (numberField(fields, "partial_rotary_factor", { missing: 1 }) !== 1) {
    problem(fields, "partial_rotary_factor", "1: all of a head turns in this family", null);
  }
  return null;
}

function readLlama3(rope: ConfigFields, factor: number, originalMaxPositionEmbeddings: number): RopeScaling {
  const lowFreqFactor = numberField(rope, "low_freq_factor", { above: 0 });
  const highFreqFactor = numberField(rope, "high_freq_factor", { above: 0 });
  if (!(highFreqFactor > lowFreqFactor)) {
    problem(rope, "high_freq_factor", `more than the ${lowFreqFactor} of low_freq_factor`, null);
  }
  return { type: "llama3", factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings };
}

function readYarn(rope: ConfigFields, original: number, sizes: RopeSizes): RopeScaling {
  return {
    type: "yarn",
    factor: numberField(rope, "factor", { above: 0, missing: sizes.maxPositionEmbeddings / original }),
    originalMaxPositionEmbeddings: original,
    attentionFactor: numberField(rope, "attention_factor", { min: 0, missing: null }),
    // Zero is no answer here: transformers reads it as the default.
    betaFast: numberField(rope, "beta_fast", { min: 0, missing: null }) || 32,
    betaSlow: numberField(rope, "beta_slow", { min: 0, missing: null }) || 1,
    mscale: numberField(rope, "mscale", { missing: null }),
    mscaleAllDim: numberField(rope, "mscale_all_dim", { missing: null }),
    truncate: booleanField(rope, "truncate", true),
  };
}

function readLongrope(
  rope: ConfigFields,
  original: number,
  sizes: RopeSizes & Pick<Rotary, "rotaryDim">,
): RopeScaling {
  const pairs = sizes.rotaryDim / 2;
  const factors = (name: string): readonly number[] => {
    const value = rawField(rope, name);
    const isFactor = (x: unknown) => typeof x === "number" && Number.isFinite(x) && x > 0;
    if (Array.isArray(value) && value.length === pairs && value.every(isFactor)) return value;
    return problem(rope, name, `${pairs} numbers above 0, one for each pair of a head's numbers`, []);
  };
  return {
    type: "longrope",
    shortFactor: factors("short_factor"),
    longFactor: factors("long_factor"),
    factor: numberField(rope, "factor", { above: 0, missing: sizes.maxPositionEmbeddings / original }),
    attentionFactor: numberField(rope, "attention_factor", { min: 0, missing: null }),
    originalMaxPositionEmbeddings: original,
  };
}

/** What nobody read of a scaling. @mutates rope.problems, rope.warnings */
function reportRest(rope: ConfigFields): void {
  const rest = Object.keys(rope.values).filter((name) =>
    !rope.used.has(name) && !SAYS_NOTHING.includes(name) && !isOff(rope.values[name])
  );
  const passed = rest.filter((name) => PASSED_OVER.includes(name));
  if (passed.length > 0) {
    const where = rope.prefix.slice(0, -1);
    rope.warnings.push(
      `Fields of ${where} that its type has no use for, passed over as transformers does: ${
        quotedNames(passed)
      }`,
    );
  }
  for (const name of rest.filter((name) => !passed.includes(name))) {
    if (!isRecord(rope.values[name])) refuseUnknown(rope, name);
    else {problem(
        rope,
        name,
        "no parameters of its own for a kind of layers: all layers share one embedding",
        null,
      );}
  }
}

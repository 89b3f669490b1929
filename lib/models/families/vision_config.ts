// SPDX-License-Identifier: Apache-2.0
/** What vision transformers read from `config.json` in the same way. */
import { patchCount, type PatchShape } from "../../data/images/patches.ts";
import type { ActivationKind } from "../../ops/kernels/model.ts";
import { booleanField, type ConfigFields, numberField, problem, rawField } from "../config_fields.ts";
import type { ModelConfig } from "../model.ts";
import { activationField, readBasics, readHeads, sizeField } from "./common_config.ts";
import type { Family } from "./family.ts";

/** What `config.json` of such a family says. */
export interface VisionConfig extends ModelConfig {
  readonly intermediateSize: number;
  readonly numAttentionHeads: number;
  readonly headDim: number;
  readonly layerNormEps: number;
  readonly hiddenAct: ActivationKind;
  readonly qkvBias: boolean;
  readonly patches: PatchShape;
}

/** Of heads for other tasks, and of a pooler that no classifier reads. */
const ELSEWHERE = ["encoder_stride", "pooler_act", "pooler_output_size"];

/** Edges of pictures and patches: more are no model's, and larger pictures are not read. */
const MOST_EDGE = 8192;

/** @param tokens How many learned tokens stand before the patches. @mutates fields */
export function readVisionConfig(
  fields: ConfigFields,
  family: Pick<Family, "modelType" | "heads">,
  tokens: number,
): VisionConfig {
  const { head, ...basics } = readBasics(fields, family);
  const classes = [rawField(fields, "architectures")].flat();
  const hasHead = Object.keys(family.heads).some((architecture) => classes.includes(architecture));
  const patches = readPatches(fields);
  for (const name of ELSEWHERE) rawField(fields, name);
  return {
    ...basics,
    head: head.kind === "classification" && !hasHead ? { ...head, assumed: true } : head,
    ...readHeads(fields, basics.hiddenSize),
    intermediateSize: sizeField(fields, "intermediate_size"),
    hiddenAct: activationField(fields, "hidden_act", "gelu"),
    layerNormEps: numberField(fields, "layer_norm_eps", { above: 0, missing: 1e-12 }),
    qkvBias: booleanField(fields, "qkv_bias", true),
    patches,
    vocabSize: 0,
    maxPositionEmbeddings: tokens + patchCount(patches),
    tieWordEmbeddings: false,
    padTokenId: null,
    bosTokenId: null,
    eosTokenIds: [],
  };
}

/** @mutates fields */
function readPatches(fields: ConfigFields): PatchShape {
  const [image, patch] = [edgesField(fields, "image_size", 224), edgesField(fields, "patch_size", 16)];
  if (image.height < patch.height || image.width < patch.width) {
    problem(fields, "patch_size", `at most the ${image.height} x ${image.width} of image_size`, null);
  }
  const channels = rawField(fields, "num_channels") ?? 3;
  if (channels === 1 || channels === 3) return { channels, image, patch };
  return problem(fields, "num_channels", "3 (red, green, blue) or 1 (grey)", { channels: 3, image, patch });
}

/** One number for a square, or height and width. @mutates fields */
function edgesField(fields: ConfigFields, name: string, missing: number): PatchShape["image"] {
  const value = rawField(fields, name) ?? missing;
  const [height, width] = Array.isArray(value) && value.length === 2 ? value : [value, value];
  const isEdge = (x: unknown): x is number =>
    Number.isSafeInteger(x) && (x as number) >= 1 && (x as number) <= MOST_EDGE;
  if (isEdge(height) && isEdge(width)) return { height, width };
  return problem(fields, name, `1 to ${MOST_EDGE} pixels, or a list of height and width`, {
    height: 1,
    width: 1,
  });
}

// SPDX-License-Identifier: Apache-2.0
/** The ViT family: a class token before the patches, and a classifier on it. */
import type { ConfigFields } from "../config_fields.ts";
import type { Family } from "./family.ts";
import {
  bareVisionModules,
  takeClassifier,
  takeVision,
  VISION_STORED_NAMES,
  VISION_UNREAD,
} from "./vision.ts";
import { readVisionConfig, type VisionConfig } from "./vision_config.ts";

/** Learned tokens. */
const TOKENS = ["cls_token"];

/** `model_type` "vit". */
export const vit: Family<VisionConfig> = {
  modelType: "vit",
  heads: { ViTForImageClassification: "classification" },
  storedNames: VISION_STORED_NAMES,
  unread: VISION_UNREAD,
  readConfig: (fields: ConfigFields) => readVisionConfig(fields, vit, TOKENS.length),
  build: (config, take) => ({
    stacks: [takeVision(config, take, "vit", TOKENS)],
    rotary: {},
    head: {
      kind: "classification",
      layers: [],
      pooling: { kind: "first" },
      output: takeClassifier(config, take, "classifier"),
      gives: "classes",
    },
  }),
  bareModules: (config) => bareVisionModules(config, "vit"),
};

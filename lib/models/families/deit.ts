// SPDX-License-Identifier: Apache-2.0
/** The DeiT family: a distillation token behind ViT's class token, and a classifier on the first or the mean of one on each. */
import { type ConfigFields, rawField } from "../config_fields.ts";
import type { ClassificationHead, TakeTensor } from "../parts.ts";
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
const TOKENS = ["cls_token", "distillation_token"];

/** The class whose second classifier another model taught. */
const WITH_TEACHER = "DeiTForImageClassificationWithTeacher";

/** What `config.json` says. */
interface DeitConfig extends VisionConfig {
  readonly hasTeacher: boolean;
}

/** `model_type` "deit". */
export const deit: Family<DeitConfig> = {
  modelType: "deit",
  heads: { DeiTForImageClassification: "classification", [WITH_TEACHER]: "classification" },
  storedNames: VISION_STORED_NAMES,
  unread: VISION_UNREAD,
  readConfig(fields: ConfigFields): DeitConfig {
    const shared = readVisionConfig(fields, deit, TOKENS.length);
    return { ...shared, hasTeacher: [rawField(fields, "architectures")].flat().includes(WITH_TEACHER) };
  },
  build: (config, take) => ({
    stacks: [takeVision(config, take, "deit", TOKENS)],
    rotary: {},
    head: takeHead(config, take),
  }),
  bareModules: (config) => bareVisionModules(config, "deit"),
};

function takeHead<W>(config: DeitConfig, take: TakeTensor<W>): ClassificationHead<W> {
  const shared = {
    kind: "classification",
    layers: [],
    pooling: { kind: "first" },
    gives: "classes",
  } as const;
  if (!config.hasTeacher) return { ...shared, output: takeClassifier(config, take, "classifier") };
  return {
    ...shared,
    output: takeClassifier(config, take, "cls_classifier"),
    distilled: takeClassifier(config, take, "distillation_classifier"),
  };
}

// SPDX-License-Identifier: Apache-2.0
/** What PEFT calls the tasks of models: by that it chooses the class that loads an adapter. */
import type { HeadKind } from "../../models/heads/head_config.ts";
import type { ModelConfig } from "../../models/model.ts";
import { embeddingName } from "../../models/tensor_names.ts";

/** By the kind of head; null where PEFT has no word for it, and would load a class that the model cannot be in. */
export const TASK_TYPES: Readonly<Record<HeadKind, string | null>> = {
  lm: "CAUSAL_LM",
  "masked-lm": null,
  classification: "SEQ_CLS",
};

/** What PEFT calls the task of a language model with an encoder. */
const WRITES_FROM_SOURCE = "SEQ_2_SEQ_LM";

/** What PEFT calls the task of a model; null where it has no word for it, as for pictures. */
export function taskType(config: ModelConfig): string | null {
  if (embeddingName(config) === null) return null;
  return config.head.kind === "lm" && config.decoderIds ? WRITES_FROM_SOURCE : TASK_TYPES[config.head.kind];
}

// SPDX-License-Identifier: Apache-2.0
/** What PEFT calls the tasks of models, by their heads. */
import type { HeadKind } from "../../models/heads/head_config.ts";

/** By the kind of head; null where PEFT has no word for it. */
export const TASK_TYPES: Readonly<Record<HeadKind, string | null>> = {
  lm: "CAUSAL_LM",
  "masked-lm": null,
  classification: "SEQ_CLS",
};

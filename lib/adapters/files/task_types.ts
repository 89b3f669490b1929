// SPDX-License-Identifier: Apache-2.0
/** What PEFT calls the tasks of models, by their heads. */
import type { HeadKind } from "../../models/heads/head_config.ts";
import type { BaseRecord } from "./base_model.ts";

/** By the kind of head; null where PEFT has no word for it. */
export const TASK_TYPES: Readonly<Record<HeadKind, string | null>> = {
  lm: "CAUSAL_LM",
  "masked-lm": null,
  classification: "SEQ_CLS",
};

/** What PEFT calls the task of a language model with an encoder. */
const WRITES_FROM_SOURCE = "SEQ_2_SEQ_LM";

/** What PEFT calls the task of a model; null where it has no word for it. */
export function taskType({ head, readsSource }: Pick<BaseRecord, "head" | "readsSource">): string | null {
  return head === null && readsSource ? WRITES_FROM_SOURCE : TASK_TYPES[head?.kind ?? "lm"];
}

// SPDX-License-Identifier: Apache-2.0
/** Language modelling: what comes next, learnt from texts, conversations or prompts with completions; scored by generated answers. */
import { loadData } from "../data/load_data.ts";
import { LM_HEAD } from "../models/heads/head_config.ts";
import type { Task } from "./task.ts";

/** See {@linkcode Task}. */
export const causalLm: Task = {
  name: "causal-lm",
  summary: "what comes next: texts, conversations, prompts with completions",
  scoring: { by: "answers" },
  takes: "tokens",
  reads: "own",
  suits: (head) => head.kind === "lm",
  headFor: () => Promise.resolve(LM_HEAD),
  load: (paths, { tokenizer }, options) => loadData(paths, tokenizer, options),
};

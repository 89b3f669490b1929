// SPDX-License-Identifier: Apache-2.0
/** Sequence to sequence: a text is read and another written; scored by what is generated. */
import { UserError } from "../core/errors.ts";
import { loadPairs, PAIR_PROMPTS } from "../data/pairs.ts";
import { givesTokens, LM_HEAD } from "../models/heads/head_config.ts";
import type { Task, TaskModel } from "./task.ts";

/** See {@linkcode Task}. */
export const seq2seq: Task = {
  name: "seq2seq",
  summary: "a text is read, another written: translations, summaries",
  scoring: { by: "answers" },
  takes: "tokens",
  reads: "source",
  prompts: PAIR_PROMPTS,
  suits: givesTokens,
  headFor: () => Promise.resolve(LM_HEAD),
  load: async (paths, model, options) => await loadPairs(paths, model.tokenizer, shiftedInOf(model), options),
};

/** @throws {UserError} When the model has no decoder behind an encoder */
function shiftedInOf({ dir, config: { decoderIds } }: TaskModel) {
  if (decoderIds !== undefined) return decoderIds.shiftedIn;
  throw new UserError(`The model ${dir} has no encoder beside its decoder, which task seq2seq needs`);
}

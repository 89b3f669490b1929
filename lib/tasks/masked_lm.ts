// SPDX-License-Identifier: Apache-2.0
/** Masked language modelling: tokens that are hidden in a text are asked for; scored by the loss. */
import { UserError } from "../core/errors.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { HeadConfig } from "../models/heads/head_config.ts";
import { loadTexts } from "./labelled_data.ts";
import type { Task } from "./task.ts";

const MASKED_HEAD: HeadConfig = { kind: "masked-lm" };

/** See {@linkcode Task}. */
export const maskedLm: Task = {
  name: "masked-lm",
  summary: "tokens hidden in texts, 15 % of each",
  scoring: { by: "loss" },
  takes: "tokens",
  reads: "own",
  suits: (head) => head.kind === "masked-lm",
  headFor: () => Promise.resolve(MASKED_HEAD),
  async load(paths, { tokenizer }, options) {
    const masking = { maskId: maskIdOf(tokenizer), vocabSize: tokenizer.vocabSize };
    return { ...await loadTexts(paths, tokenizer, options), masking };
  },
};

/** @throws {UserError} When the tokenizer has no mask */
function maskIdOf({ source, specialIds, specialNames, token }: Tokenizer): number {
  const name = specialNames["mask_token"] ?? null;
  const id = name === null ? undefined : [...specialIds].find((special) => token(special) === name);
  if (id === undefined) {
    throw new UserError(`The tokenizer of "${source}" has no mask token: masked-lm needs one`);
  }
  return id;
}

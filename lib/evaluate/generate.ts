// SPDX-License-Identifier: Apache-2.0
/** The short way to an answer: one prompt in, its completion out. */
import { attachAdapter } from "../adapters/attach.ts";
import type { AdapterParams } from "../adapters/adapter.ts";
import { stopIds } from "../data/examples.ts";
import type { FormatOptions } from "../data/format_options.ts";
import { PAIR_PROMPTS } from "../data/pairs.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { Model } from "../models/model.ts";
import { askText } from "./questions.ts";
import type { AnswerOptions, GeneratedToken } from "./answer_options.ts";
import { answerStart } from "./answer_start.ts";
import { generateTokens } from "./generate_tokens.ts";

/** How a prompt is completed; `stopIds` adds to the model's own. */
export interface GenerateOptions extends Partial<AnswerOptions>, FormatOptions {
  /** Trained parameters to run the model with. */
  readonly adapter?: AdapterParams | null;
}

/**
 * Streams the completion of a prompt, token by token. A model with a chat template is asked in conversation.
 *
 * @throws {UserError} When the chat template refuses the prompt, or it leaves no room for an answer
 * @throws {NotFiniteError} When a logit is not finite
 */
export async function* streamCompletion(
  model: Model & { readonly tokenizer: Tokenizer },
  prompt: string,
  options: GenerateOptions = {},
): AsyncGenerator<GeneratedToken> {
  const { tokenizer, config, kernels } = model;
  const attached = attachAdapter(model, options.adapter, kernels);
  const own = await stopIds(tokenizer, config.eosTokenIds, options);
  yield* generateTokens(attached.model, tokenizer, [
    await askText(prompt, tokenizer, {
      ...options,
      room: config.maxPositionEmbeddings,
      ...(config.decoderIds && { reader: PAIR_PROMPTS }),
    }),
  ], {
    ...answerStart(config, tokenizer, options),
    ...options,
    hooks: attached.hooks,
    stopIds: new Set([...own, ...options.stopIds ?? []]),
  });
}

/** The completion of a prompt, whole. */
export async function generate(
  model: Model & { readonly tokenizer: Tokenizer },
  prompt: string,
  options: GenerateOptions = {},
): Promise<string> {
  let text = "";
  for await (const token of streamCompletion(model, prompt, options)) text += token.text;
  return text;
}

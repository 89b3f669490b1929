// SPDX-License-Identifier: Apache-2.0
/** How answers of a decoder behind an encoder begin and end, whatever the model thinks. */
import { type LanguageChoice, withLanguages } from "../data/languages.ts";
import type { Tokenizer } from "../data/tokenizer.ts";
import type { ModelConfig } from "../models/model.ts";
import type { AnswerOptions } from "./answer_options.ts";

/**
 * What the model's folder says of it, and the language that is chosen: mBART's decoder begins with its token, mBART-50's writes
 * it first. Nothing for models that go on with their prompts.
 *
 * @throws {UserError} When the tokenizer has no such language
 */
export function answerStart(
  { decoderIds }: Pick<ModelConfig, "decoderIds">,
  tokenizer: Tokenizer,
  chosen: LanguageChoice,
): Pick<AnswerOptions, "startId" | "forcedFirstId" | "forcedLastIds"> {
  if (decoderIds === undefined) return {};
  const { targetIds, targetLanguageId: language } = withLanguages(tokenizer, chosen);
  const { startTokenId, forcedBosTokenId, forcedEosTokenId } = decoderIds;
  const asked = chosen.tgtLang !== undefined && language !== undefined;
  const writesIt = asked && targetIds?.prefix.includes(language) === true;
  const startId = asked && !writesIt ? language : startTokenId ?? language;
  return {
    ...(startId !== undefined && { startId }),
    forcedFirstId: writesIt ? language : forcedBosTokenId,
    forcedLastIds: forcedEosTokenId === null ? [] : [forcedEosTokenId],
  };
}

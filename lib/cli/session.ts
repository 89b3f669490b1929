// SPDX-License-Identifier: Apache-2.0
/** What most commands start from: the model that the flags name, and the demo that is used when they name none. */
import { fileURLToPath } from "node:url";
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import { loadModel, type OpenModel, type OpenModelOptions } from "../train/open_model.ts";
import { VOCABULARY_OPTIONS, type VocabularyOptions } from "../train/open_vocabulary.ts";
import { type FlagValues, valuesOf } from "./flags/flags.ts";
import { warn } from "./output.ts";

/** The model, data and texts that ship with the project. */
export const DEMO = {
  model: fileURLToPath(new URL("../../notebooks/demo/model", import.meta.url)),
  facts: fileURLToPath(new URL("../../notebooks/demo/facts.jsonl", import.meta.url)),
  general: fileURLToPath(new URL("../../notebooks/demo/general.jsonl", import.meta.url)),
} as const;

/** Folder of the model that the flags name. */
export function modelFolder(values: FlagValues): string {
  return (values.model ?? DEMO.model) as string;
}

/**
 * Opens the model that the flags name, and says what its user should know of it.
 *
 * @param own What else it is opened with: a head in the place of its own, an adapter's vocabulary
 */
export async function openModelOf(
  values: FlagValues,
  own: Pick<OpenModelOptions, "head" | keyof VocabularyOptions> = {},
): Promise<OpenModel> {
  const model = await loadModel(modelFolder(values), {
    device: (values.device ?? "auto") as NonNullable<OpenModelOptions["device"]>,
    dtype: (values.dtype ?? "auto") as NonNullable<OpenModelOptions["dtype"]>,
    ...(typeof values.threads === "number" ? { threads: values.threads } : {}),
    ...own,
  });
  warnOfCheckpoint(model);
  return model;
}

/** With what vocabulary a model is trained: one that has the tokenizer's tokens, and those that flags add. */
export function trainedVocabulary(values: FlagValues, start: SavedAdapter | null): VocabularyOptions {
  const given = Object.entries(valuesOf(VOCABULARY_OPTIONS, values)).filter(([, value]) =>
    value !== undefined
  );
  return { ...Object.fromEntries(given), adapter: start, fitVocabulary: true };
}

/** Says what the user of a checkpoint should know. */
export function warnOfCheckpoint({ warnings }: { readonly warnings: readonly string[] }): void {
  for (const warning of warnings) warn(warning);
}

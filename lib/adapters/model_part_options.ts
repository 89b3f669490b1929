// SPDX-License-Identifier: Apache-2.0
/** What of the model itself is trained beside an adapter: the options, and the adapter that they make. */
import { indices, type OptionsOf, texts, toggle } from "../core/options.ts";
import { quotedValue } from "../core/quoted.ts";
import type { ModelConfig } from "../models/model.ts";
import { vocabularyTables } from "../models/vocabulary.ts";
import type { JsonObject } from "../core/json.ts";
import type { Resolved } from "./adapter.ts";
import type { ResolveContext } from "./definition.ts";
import { chooseModules } from "./modules_to_save.ts";
import { chooseTokens } from "./token_indices.ts";
import { tokenRowsAdapter } from "./token_rows.ts";
import { trainedBeside } from "./trained_beside.ts";
import { withTensors } from "./whole_tensors.ts";

/** Options beside those of any adapter that leaves the model's weights frozen. */
export const MODEL_PART_OPTIONS = {
  /** Ends of names of modules. Default: the head of a task that has one of its own. */
  modulesToSave: texts({
    names: ["norm", "embed_tokens", "lm_head", "score"],
    help:
      "modules of the model that are trained whole beside the adapter and saved with it, by the ends of their names",
    defaultText: "a task's own head",
  }),
  /**
   * Tokens whose rows of the embedding (and of a head that is tied to it) are trained, all other rows staying as they are; or
   * tokens by table: `{"embed_tokens": [5], "lm_head": [5, 6]}`. Default: those that `addTokens` added, unless the embedding is
   * trained whole.
   */
  trainableTokenIndices: indices({
    min: 0,
    help:
      "tokens whose rows of the embedding, and of a head that is tied to it, are trained: 5,8-10, or embed_tokens=5",
    defaultText: "tokens that --add-tokens added",
  }),
  /**
   * Whether an embedding of `modulesToSave`, and the head that is tied to it, stay one. Default false: as with PEFT, what is
   * named is trained apart from the other.
   */
  ensureWeightTying: toggle({
    default: false,
    help: "an embedding and the head that is tied to it stay one where --modules-to-save names either",
  }),
} as const;

/** Choices of what of the model itself is trained beside an adapter. */
export type ModelPartChoice = OptionsOf<typeof MODEL_PART_OPTIONS>;

/** The same as a file or the user has them, not checked. */
export interface ModelPartOptions {
  readonly modulesToSave: unknown;
  readonly trainableTokenIndices: unknown;
  readonly ensureWeightTying: unknown;
}

/** Options as a file or the user has them, apart from the adapter's own. */
export function splitOptions(
  options: JsonObject,
): { readonly parts: ModelPartOptions; readonly own: JsonObject } {
  const { modulesToSave = [], trainableTokenIndices = null, ensureWeightTying = false, ...own } = options;
  return { parts: { modulesToSave, trainableTokenIndices, ensureWeightTying }, own };
}

/** Tables of the vocabulary that options leave frozen, none of them where a tied head is trained apart; names of their tensors. */
export function frozenTables(options: JsonObject, model: ModelConfig): readonly string[] {
  const { parts: { modulesToSave, ensureWeightTying } } = splitOptions(options);
  const { tensors } = chooseModules(modulesToSave, ensureWeightTying === true, model);
  const tables = vocabularyTables(model);
  const all = tables === null ? [] : [tables.embedding, tables.head ?? []].flat();
  const frozen = all.filter((name) => !tensors.has(name));
  if (!tables?.tied) return frozen;
  return frozen.length === all.length ? [tables.embedding] : [];
}

/** An adapter that also trains parts of the model. @param parts They may come from a file */
export function withModelParts(
  { adapter, problems }: Resolved,
  parts: ModelPartOptions,
  model: ModelConfig,
  { source = { by: "user" }, frozenLayers = 0 }: Pick<ResolveContext, "source" | "frozenLayers"> = {},
): Resolved {
  const { ensureWeightTying: tie, trainableTokenIndices: tokens } = parts;
  const tieLabel = source.by === "peft" ? '"ensure_weight_tying"' : "ensureWeightTying";
  if (typeof tie !== "boolean") {
    return { adapter, problems: [...problems, `${tieLabel} is ${quotedValue(tie)}, expected true or false`] };
  }
  const modules = chooseModules(parts.modulesToSave, tie, model, { source, frozenLayers });
  const rows = tokens === null ? null : chooseTokens(tokens, tie, modules, model, source);
  const found = [...problems, ...modules.problems, ...rows?.problems ?? []];
  if (adapter.trainsModel && (modules.tensors.size > 0 || rows !== null)) {
    const names = [
      ...modules.tensors.size > 0 ? ["modulesToSave"] : [],
      ...rows ? ["trainableTokenIndices"] : [],
    ];
    return {
      adapter,
      problems: [
        ...problems,
        ...names.map((name) => `${name} says nothing here: all modules are trained already`),
      ],
    };
  }
  if (tie && source.by === "user" && !modules.tied && !(rows && vocabularyTables(model)?.tied)) {
    found.push(
      `${tieLabel} says nothing here: it is for a model whose head is its embedding (tie_word_embeddings), where ` +
        "modulesToSave names embed_tokens or lm_head",
    );
  }
  const withModules = withTensors(adapter, modules.tensors, {
    ...(modules.names.length > 0 && { modulesToSave: [...modules.names] }),
    ...(tie && { ensureWeightTying: true }),
  });
  const whole = rows?.tables
    ? trainedBeside(withModules, tokenRowsAdapter(rows.tables), { trainableTokenIndices: rows.recorded })
    : withModules;
  if (whole.nothingAlone !== undefined && found.length === 0) found.push(whole.nothingAlone);
  return { adapter: whole, problems: found };
}

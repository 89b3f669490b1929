// SPDX-License-Identifier: Apache-2.0
/** Adapters by kind. Adding one is a file and a line here. */
import { UserError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import type { OptionSchema, OptionsOf } from "../core/options.ts";
import { didYouMean } from "../core/suggestion.ts";
import type { ModelConfig } from "../models/model.ts";
import type { Resolved } from "./adapter.ts";
import { BOTTLENECK } from "./bottleneck/bottleneck.ts";
import type { AdapterDefinition } from "./definition.ts";
import { FULL } from "./full.ts";
import { LORA } from "./lora/lora.ts";
import type { OptionSource } from "./option_source.ts";
import { splitOptions, withModelParts } from "./model_part_options.ts";
import { PARALLEL } from "./parallel.ts";
import { withWiring } from "./wiring/coupled.ts";
import { frozenLayersOf } from "./frozen_layers.ts";
import { splitWiring } from "./wiring/options.ts";
import { SPARSE } from "./sparse/sparse.ts";
import { TOKENS } from "./tokens.ts";

/** All adapters, in the order in which people are told of them. */
export const ADAPTERS = [
  SPARSE,
  PARALLEL,
  LORA,
  BOTTLENECK,
  TOKENS,
  FULL,
] as const satisfies readonly AdapterDefinition[];

/** Kinds of adapters there are. */
export const ADAPTER_KINDS: readonly string[] = ADAPTERS.map(({ kind }) => kind);

/** An adapter by kind, with its options: plain data. */
export interface AdapterSpec {
  readonly kind: string;
  /** Its own, `WIRING_OPTIONS` and `MODEL_PART_OPTIONS`. */
  readonly options: JsonObject;
  /** Who wrote the options; the user when absent. */
  readonly source?: OptionSource;
}

/**
 * The adapter of a spec for a model.
 *
 * @throws {UserError} When there is no such kind
 */
export function resolveAdapter({ kind, options, source }: AdapterSpec, model: ModelConfig): Resolved {
  const definition = (ADAPTERS as readonly AdapterDefinition[]).find((known) => known.kind === kind);
  if (!definition) {
    const known = ADAPTER_KINDS.join(", ");
    throw new UserError(
      `There is no adapter "${kind}"${didYouMean(kind, ADAPTER_KINDS)} (there are: ${known})`,
    );
  }
  const { parts, own: others } = splitOptions(options);
  const { wiring, own } = splitWiring(others, definition.options);
  const frozenLayers = frozenLayersOf(wiring.frozenLayers, model);
  const resolved = definition.resolve(own as OptionsOf<OptionSchema>, model, {
    ...(source && { source }),
    modulesToSave: parts.modulesToSave,
    frozenLayers,
  }); // which it checks
  return withModelParts(withWiring(resolved, wiring, model), parts, model, {
    ...(source && { source }),
    frozenLayers,
  });
}

// SPDX-License-Identifier: Apache-2.0
/** Adapters by kind. Adding one is a file and a line here. */
import { UserError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { didYouMean } from "../core/suggestion.ts";
import type { ModelConfig } from "../models/model.ts";
import type { Resolved } from "./adapter.ts";
import { fullAdapter } from "./full.ts";
import { loraAdapter } from "./lora/lora.ts";
import type { OptionSource } from "./option_source.ts";
import { parallelAdapter } from "./parallel.ts";
import { sparseAdapter } from "./sparse/sparse.ts";

/** Options are checked by each adapter itself, names and types included: they may come from a file. */
const ADAPTERS: Readonly<
  Record<string, (options: JsonObject, model: ModelConfig, source: OptionSource | undefined) => Resolved>
> = {
  sparse: sparseAdapter,
  parallel: parallelAdapter,
  lora: loraAdapter,
  full: (options) => fullAdapter(options as Readonly<Record<string, never>>),
};

/** Kinds of adapters there are. */
export const ADAPTER_KINDS: readonly string[] = Object.keys(ADAPTERS);

/** An adapter by kind, with its options: plain data. */
export interface AdapterSpec {
  readonly kind: string;
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
  const resolve = Object.hasOwn(ADAPTERS, kind) ? ADAPTERS[kind] : undefined;
  if (!resolve) {
    const known = ADAPTER_KINDS.join(", ");
    throw new UserError(
      `There is no adapter "${kind}"${didYouMean(kind, ADAPTER_KINDS)} (there are: ${known})`,
    );
  }
  return resolve(options, model, source);
}

// SPDX-License-Identifier: Apache-2.0
/** A kind of adapter as the registry has it: all that is said of it before there is a model. */
import type { JsonObject } from "../core/json.ts";
import type { OptionSchema, OptionsOf } from "../core/options.ts";
import type { ModelConfig } from "../models/model.ts";
import type { Resolved } from "./adapter.ts";
import type { OptionSource } from "./option_source.ts";

/** One kind of adapter. Its options are declared here alone: flags, settings, grids, help and records are read off them. */
export interface AdapterDefinition<S extends OptionSchema = OptionSchema> {
  /** Name in the registry, in `adapter_config.json`, and of the method that trains it. */
  readonly kind: string;
  /** Half a sentence, for people who choose. */
  readonly summary: string;
  readonly options: S;
  /** Whether its parameters are updated by rows, for which there is more to choose: `ofRows`. */
  readonly rows: boolean;
  /** With what options people are told of it who have chosen none; absent where it can be told of without any. */
  readonly example?: JsonObject;
  /** Peak learning rate where none is chosen. */
  readonly lr: number;
  /** The same where a head of the task's own is learnt too, of models whose hidden size is 384 or less; see `peakRate`. */
  readonly headLr: number;
  /** The adapter for a model. Options may come from a file: all are checked, names and types included. */
  resolve(options: OptionsOf<S>, model: ModelConfig, given?: ResolveContext): Resolved;
}

/** What an adapter may have to know beside its options. */
export interface ResolveContext {
  /** Who wrote the options. Default: the user. */
  readonly source?: OptionSource;
  /** Modules that are trained whole beside it, as they were given; not checked. */
  readonly modulesToSave?: unknown;
  /** Layers at the bottom of each stack that are to have nothing of it, fewer than there are. Default 0. */
  readonly frozenLayers?: number;
}

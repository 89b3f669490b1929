// SPDX-License-Identifier: Apache-2.0
/**
 * Methods: published names for compositions of adapter, optimizer and the rest of a run. Every adapter is one by itself, trained
 * alone; a composition of several has a line of its own.
 */
import type { AdapterDefinition } from "../adapters/definition.ts";
import { FULL } from "../adapters/full.ts";
import { LORA } from "../adapters/lora/lora.ts";
import type { LoraOptions } from "../adapters/lora/options.ts";
import { PARALLEL, type ParallelOptions } from "../adapters/parallel.ts";
import { ADAPTERS, type AdapterSpec } from "../adapters/registry.ts";
import type { SparseOptions } from "../adapters/sparse/config.ts";
import { SPARSE } from "../adapters/sparse/sparse.ts";
import { TOKENS } from "../adapters/tokens.ts";
import type { ModelPartChoice } from "../adapters/model_part_options.ts";
import { UserError } from "../core/errors.ts";
import type { JsonObject } from "../core/json.ts";
import { type ActivationPolicyName, DEFAULT_ACTIVATIONS } from "../activations/registry.ts";
import { didYouMean } from "../core/suggestion.ts";
import type { AdamwOptions } from "../optim/adamw.ts";

/** What a method decides; the user's own choices win. */
export interface Method {
  readonly name: string;
  /** One sentence, for people who choose. */
  readonly summary: string;
  readonly adapter: AdapterSpec;
  /** Defaults of the optimizer. */
  readonly optimizer: AdamwOptions;
  /** Activation policy by default: what is remembered for backward. */
  readonly activations: ActivationPolicyName;
}

/** The paper's method; options left out take its values (r = 4096, N = 4 sqrt(r), k_e = 8, K = 64, raw gate). */
export function sparse(options: SparseOptions & ModelPartChoice = {}): Method {
  return methodOf(SPARSE, options);
}

/** A dense adapter beside every feed-forward sublayer (He et al., ICLR 2022), the paper's rival: with ReLU, as MEFT's dense limit. */
export function parallel(options: ParallelOptions & ModelPartChoice = {}): Method {
  return methodOf(PARALLEL, options);
}

/** A low-rank delta (Hu et al., ICLR 2022) on every weight of a layer, or on those chosen. */
export function lora(options: LoraOptions & ModelPartChoice = {}): Method {
  return methodOf(LORA, options);
}

/** Rows of chosen tokens alone, in the embedding and in a head that is tied to it. */
export function tokens(options: ModelPartChoice): Method {
  return methodOf(TOKENS, options);
}

/** Every weight is trained. The published learning rate is 1e-5. */
export function full(): Method {
  return methodOf(FULL, {});
}

/** An adapter trained alone, with options of its own. */
function methodOf({ kind, summary, lr }: AdapterDefinition, options: object): Method {
  return {
    name: kind,
    summary,
    adapter: { kind, options: { ...options } },
    optimizer: { lr },
    activations: DEFAULT_ACTIVATIONS,
  };
}

const METHODS: ReadonlyMap<string, Method> = new Map(
  ADAPTERS.map((definition) => [definition.kind, methodOf(definition, {})]),
);

/** Names of the methods there are. */
export const METHOD_NAMES: readonly string[] = [...METHODS.keys()];

/** Every method with options by which people can be told of it: its defaults, where these are something. */
export const METHOD_EXAMPLES: readonly Method[] = ADAPTERS.map((definition: AdapterDefinition) =>
  methodOf(definition, definition.example ?? {})
);

/** The method that is meant where none is named: the paper's. */
export const DEFAULT_METHOD: string = SPARSE.kind;

/**
 * A method by name, with options of its adapter: for command lines and files. The adapter checks the options.
 *
 * @throws {UserError} When there is no such method
 */
export function methodByName(name: string, options: JsonObject = {}): Method {
  const method = METHODS.get(name);
  if (!method) {
    const known = METHOD_NAMES.join(", ");
    throw new UserError(
      `There is no method "${name}"${didYouMean(name, METHOD_NAMES)} (there are: ${known})`,
    );
  }
  return { ...method, adapter: { ...method.adapter, options } };
}

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
import { BOTTLENECK, type BottleneckOptions } from "../adapters/bottleneck/bottleneck.ts";
import { COUPLING_NAMES, type WiringChoice } from "../adapters/wiring/options.ts";
import { type CouplingName, COUPLINGS } from "../models/wiring/coupling.ts";
import type { AdamwOptions } from "../optim/adamw.ts";

/** What a method decides; the user's own choices win. */
export interface Method {
  readonly name: string;
  /** One sentence, for people who choose. */
  readonly summary: string;
  readonly adapter: AdapterSpec;
  /** Defaults of the optimizer. */
  readonly optimizer: AdamwOptions & { readonly lr: number };
  /** Its rate where a head is learnt too; see {@linkcode peakRate}. */
  readonly headLr: number;
  /** Activation policy by default: what is remembered for backward. */
  readonly activations: ActivationPolicyName;
}

/** The paper's method; options left out take its values (r = 4096, N = 4 sqrt(r), k_e = 8, K = 64, raw gate). */
export function sparse(options: SparseOptions & WiringChoice & ModelPartChoice = {}): Method {
  return methodOf(SPARSE, options);
}

/** A dense adapter beside every feed-forward sublayer (He et al., ICLR 2022), the paper's rival: with ReLU, as MEFT's dense limit. */
export function parallel(options: ParallelOptions & WiringChoice & ModelPartChoice = {}): Method {
  return methodOf(PARALLEL, options);
}

/** A low-rank delta (Hu et al., ICLR 2022) on every weight of a layer, or on those chosen. */
export function lora(options: LoraOptions & WiringChoice & ModelPartChoice = {}): Method {
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

/** A thin bottleneck beside every feed-forward, with the model's own activation: what the reversible methods train, on one stream. */
export function bottleneck(options: BottleneckOptions & WiringChoice & ModelPartChoice = {}): Method {
  return methodOf(BOTTLENECK, options);
}

/** Reversible fine-tuning (Liao et al., NeurIPS 2023): the layer and an adapter that stands alone, coupled. */
export function meft1(
  options: BottleneckOptions & Omit<WiringChoice, "wiring"> & ModelPartChoice = {},
): Method {
  return reversibleOf("meft1", options);
}

/** The same the other way round: the adapter first, then the layer. */
export function meft2(
  options: BottleneckOptions & Omit<WiringChoice, "wiring"> & ModelPartChoice = {},
): Method {
  return reversibleOf("meft2", options);
}

/** Reversible fine-tuning of attention and feed-forward, coupled: the least at one time. */
export function meft3(
  options: BottleneckOptions & Omit<WiringChoice, "wiring"> & ModelPartChoice = {},
): Method {
  return reversibleOf("meft3", options);
}

function reversibleOf(wiring: CouplingName, options: object): Method {
  return {
    ...methodOf(BOTTLENECK, { wiring, ...options }),
    name: wiring,
    summary: `reversible fine-tuning: ${COUPLINGS[wiring].summary}`,
    activations: "reversible",
  };
}

/** An adapter trained alone, with options of its own. */
function methodOf({ kind, summary, lr, headLr }: AdapterDefinition, options: object): Method {
  return {
    name: kind,
    summary,
    adapter: { kind, options: { ...options } },
    optimizer: { lr },
    headLr,
    activations: DEFAULT_ACTIVATIONS,
  };
}

const REVERSIBLE: readonly Method[] = COUPLING_NAMES.map((wiring) => reversibleOf(wiring, {}));

/** Hidden size of the encoder on which rates with a head were swept (`scripts/study/encoder/learning_rates.csv`). */
const SWEPT_WIDTH = 384;

/**
 * The peak learning rate where none is chosen. A head that starts from random numbers has few steps to learn in, and encoders
 * take larger rates than language models do: what was best on one of 384 is in proportion less on wider ones, 5e-4 for a LoRA
 * on 768 (Hu et al., 2022, have 4e-4 to 5e-4 there) and 5e-5 for all of it (Devlin et al., 2019), down to the published rate.
 *
 * @param hasHead Whether a head of the task's own is learnt
 */
export function peakRate(
  { optimizer: { lr }, headLr }: Method,
  hiddenSize: number,
  hasHead: boolean,
): number {
  return hasHead ? Math.max(lr, headLr * Math.min(1, SWEPT_WIDTH / hiddenSize)) : lr;
}

const METHODS: ReadonlyMap<string, Method> = new Map(
  [...ADAPTERS.map((definition) => methodOf(definition, {})), ...REVERSIBLE]
    .map((method) => [method.name, method]),
);

/** Names of the methods there are. */
export const METHOD_NAMES: readonly string[] = [...METHODS.keys()];

/** Every method with options by which people can be told of it: its defaults, where these are something. */
export const METHOD_EXAMPLES: readonly Method[] = [
  ...ADAPTERS.map((definition: AdapterDefinition) => methodOf(definition, definition.example ?? {})),
  ...REVERSIBLE,
];

/** The method that is meant where none is named: the paper's. */
export const DEFAULT_METHOD: string = SPARSE.kind;

/**
 * A method by name, with options of its adapter: for command lines and files. The adapter checks the options.
 *
 * @throws {UserError} When there is no such method, or an option is another than the one that makes the method
 */
export function methodByName(name: string, options: JsonObject = {}): Method {
  const method = METHODS.get(name);
  if (!method) {
    const known = METHOD_NAMES.join(", ");
    throw new UserError(
      `There is no method "${name}"${didYouMean(name, METHOD_NAMES)} (there are: ${known})`,
    );
  }
  const { kind, options: own } = method.adapter;
  for (const [option, value] of Object.entries(own)) {
    const chosen = options[option] ?? value;
    if (chosen !== value) {
      throw new UserError(
        `${option} is ${chosen}, but method ${name} is that of ${option} ${value}: leave ${option} out, or choose it ` +
          `with method ${kind}`,
      );
    }
  }
  return { ...method, adapter: { ...method.adapter, options: { ...own, ...options } } };
}

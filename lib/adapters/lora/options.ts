// SPDX-License-Identifier: Apache-2.0
/** The options of LoRA, by PEFT's defaults where they are not the paper's; which weights are meant is told in PEFT's ways. */
import {
  choice,
  type DecidedOptions,
  integer,
  integers,
  number,
  numbers,
  type OptionsOf,
  type OptionSpec,
  texts,
  toggle,
} from "../../core/options.ts";
import { knownWords } from "../../models/modules.ts";
import type { OptionSource } from "../option_source.ts";

/** An option, with its name in PEFT's `adapter_config.json`. */
type PeftOption = OptionSpec & { readonly peft?: string };

/** Sites of all families, and what their modules are called. */
const WORDS = knownWords();

/** Words for weights that a LoRA may change. */
const TARGET_WORDS: readonly string[] = [
  "all",
  "all-linear",
  ...WORDS.keys(),
  ...[...WORDS.values()].flatMap((words) => [...words]),
];

/** Choices of LoRA. */
export const LORA_OPTIONS = {
  /** R: rank of every delta, where `rankPattern` says no other. Default 8. */
  rank: integer({ min: 1, default: 8, help: "rank of every delta", peft: "r", size: true, always: true }),
  /** The delta is scaled by alpha / rank. Default 16, where `alphaPattern` says no other. */
  alpha: number({
    min: 0,
    above: true,
    default: 16,
    help: "deltas are scaled by alpha / rank",
    setting: "loraAlpha",
    peft: "lora_alpha",
    size: true,
    always: true,
  }),
  /** Share of a weight's inputs that the delta does not see in a training step. Default 0. */
  dropout: number({
    min: 0,
    max: 1,
    below: true,
    default: 0,
    help: "share of its inputs that a delta does not see in a training step",
    setting: "loraDropout",
    peft: "lora_dropout",
    always: true,
  }),
  /** Scales by alpha / sqrt(rank) instead, so that the rank does not change the size of updates. Default false. */
  useRslora: toggle({
    default: false,
    help: "scale by alpha / sqrt(rank): rank-stabilised",
    setting: "rslora",
    peft: "use_rslora",
    always: true,
  }),
  /**
   * The weights that get a delta. A list holds words (`q`, `k`, `v`, `o`, `gate`, `up`, `down`) and ends of module names
   * (`q_proj`, `self_attn.q_proj`, `model.layers.0.self_attn.q_proj`); one text is a regular expression of Python's that
   * matches whole module names (`model\.layers\.\d+\.self_attn\.[qv]_proj`), "all" is all linear weights of every layer,
   * "all-linear" those of the head too that are not trained whole, as PEFT has it, and null is what PEFT takes by default, q and v. Default "all".
   */
  targets: texts({
    names: TARGET_WORDS,
    default: "all",
    nullable: true,
    help: "weights that get a delta: " + [...WORDS.keys()].join(", ") +
      ", ends of module names (layers.0.self_attn.q_proj), or a regular expression as PEFT has it",
    setting: "target",
    peft: "target_modules",
    size: true,
    always: true,
  }),
  /** Weights that get none although they are targets, told in the same ways. Default none. */
  excludeTargets: texts({
    names: TARGET_WORDS,
    nullable: true,
    help: "targets that get none, told in the same ways",
    setting: "excludeTarget",
    peft: "exclude_modules",
    size: true,
  }),
  /** The layers whose weights are targets, from 0; does not go with a regular expression. Default all. */
  layersToTransform: integers({
    min: 0,
    nullable: true,
    defaultText: "all",
    help: "layers whose weights are targets, from 0: 0,1 or 8-15",
    peft: "layers_to_transform",
    size: true,
  }),
  /** What stands before a layer's number in module names, as regular expressions. Default any. */
  layersPattern: texts({
    nullable: true,
    help: "what stands before a layer's number in module names, as regular expressions",
    setting: null,
    peft: "layers_pattern",
  }),
  /**
   * Other ranks, by the end of a module's name as a regular expression: `{"q_proj": 16, "layers\\.[01]\\..*": 4}`. The first
   * that matches counts.
   */
  rankPattern: numbers({
    nullable: true,
    help: "other ranks, by the end of a module's name as a regular expression: q_proj=16",
    peft: "rank_pattern",
    size: true,
  }),
  /** Other alphas, in the same way. */
  alphaPattern: numbers({
    nullable: true,
    help: "other alphas, in the same way",
    peft: "alpha_pattern",
    size: true,
  }),
  /** Biases of the model that are trained too: none, those of the weights with a delta, or all. Default "none". */
  bias: choice(["none", "lora_only", "all"], {
    default: "none",
    help: "biases of the model that are trained too: none, those of weights with a delta, or all",
    setting: "loraBias",
  }),
} as const satisfies Readonly<Record<string, PeftOption>>;

/** Choices of LoRA; what is left out takes PEFT's default, or the paper's. */
export type LoraOptions = OptionsOf<typeof LORA_OPTIONS>;

/** What chooses weights, decided. What chooses nothing is null or empty. */
interface LoraChoices {
  /** A regular expression; or a list, the words first, in the order of `Sites.words`. */
  readonly targets: string | readonly string[];
  readonly excludeTargets: string | readonly string[] | null;
  /** Increasing. */
  readonly layersToTransform: readonly number[] | null;
  readonly layersPattern: readonly string[] | null;
  readonly rankPattern: Readonly<Record<string, number>>;
  readonly alphaPattern: Readonly<Record<string, number>>;
}

/** {@linkcode LoraOptions}, all decided. */
export interface LoraSettings
  extends Omit<DecidedOptions<typeof LORA_OPTIONS>, keyof LoraChoices>, LoraChoices {}

/** PEFT's names of the options; one that PEFT has no name for is there by its own. */
export const PEFT_NAMES = Object.fromEntries(
  Object.entries<PeftOption>(LORA_OPTIONS).map(([name, { peft = name }]) => [name, peft]),
) as Readonly<Record<keyof typeof LORA_OPTIONS, string>>;

/** An option in a message, by the name that its writer knows. */
export function optionLabel(name: keyof typeof LORA_OPTIONS, { by }: OptionSource): string {
  return by === "peft" ? `"${PEFT_NAMES[name]}"` : name;
}

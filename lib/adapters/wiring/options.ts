// SPDX-License-Identifier: Apache-2.0
/** How layers are coupled: options beside those of any adapter, what is decided of them, and what is wrong with them. */
import { optionProblems, recordedOptions, withDefaults } from "../../core/option_checks.ts";
import { choice, integer, number, type OptionSchema, type OptionsOf, toggle } from "../../core/options.ts";
import type { JsonObject } from "../../core/json.ts";
import type { ModelConfig } from "../../models/model.ts";
import { type CouplingKind, type CouplingName, COUPLINGS } from "../../models/wiring/coupling.ts";
import { MOST_FRACTION, MOST_SHIFT } from "../../ops/kernels/coupling.ts";
import { FROZEN_LAYERS, frozenProblems } from "../frozen_layers.ts";
import { BOTTLENECK_DROPOUT } from "../neuron_options.ts";
import { isDecoder } from "./modules.ts";

/** Names of the wirings that couple two streams. */
export const COUPLING_NAMES = Object.keys(COUPLINGS) as [CouplingName, ...CouplingName[]];

/** One stream, as the model was trained. */
export const PLAIN = "plain";

/** Options beside those of any adapter. */
export const WIRING_OPTIONS = {
  /** How the layers are joined: one stream, or two that are coupled so that backward can undo them. Default `plain`. */
  wiring: choice([PLAIN, ...COUPLING_NAMES], {
    default: PLAIN,
    help:
      "how layers are joined: plainly, or as two streams that backward can undo (Liao et al., NeurIPS 2023)",
  }),
  /** Before the older stream x1. Default: 1, or small where the wiring says so: 2^-3 for encoders, 2^-7 for decoders. */
  lambda: number({
    min: 0,
    max: 1,
    defaultText: "the wiring's: 1/8 for encoders, 1/128 for decoders, or 1",
    help: "coefficient of the first stream of a wiring; a power of two where streams are exact",
  }),
  /** Before x2, in the same way. */
  beta: number({
    min: 0,
    max: 1,
    defaultText: "the wiring's: 1/8 for encoders, 1/128 for decoders, or 1",
    help: "coefficient of the second stream of a wiring; a power of two where streams are exact",
  }),
  /** Whether the next layer is given the streams in the other order. Default: the wiring's. */
  switchStreams: toggle({
    defaultText: "the wiring's: meft1 and meft2",
    help: "give each layer the streams in the other order than the one below",
  }),
  /** What streams are kept as: int32 fixed point, undone to the bit, or floats. Default `exact`. */
  streams: choice(["exact", "f32"], {
    default: "exact",
    help: "what the streams of a wiring are kept as: fixed point that is undone to the bit, or floats",
  }),
  /** Fractional bits of exact streams. Default: what the largest values of the first micro-batch leave room for. */
  fractionBits: integer({
    min: 0,
    max: MOST_FRACTION,
    mayChange: true, // what overflows has a way on
    defaultText: "found from the first rows of the data",
    help: "fractional bits of exact streams",
  }),
  /** What the head reads. Default: `mean` for encoders, `stream` for decoders. */
  combination: choice(["mean", "stream", "alpha"], {
    defaultText: "mean for encoders, stream for decoders",
    help:
      "what the head reads of two streams: their mean, the model's, or that and a trained share of the other",
  }),
  /** r of the adapters that a wiring brings: those that stand alone, or are behind attention. Default 8. */
  bottleneck: integer({
    min: 1,
    default: 8,
    help: "neurons of the adapters that a wiring brings (r)",
    size: true,
  }),
  /** Dropout of their neurons in training, and of those of the bottleneck adapter. Default 0. */
  bottleneckDropout: BOTTLENECK_DROPOUT,
  /** Layers at the bottom of each stack that stay plain, frozen and without adapters; without a wiring too. Default 0. */
  frozenLayers: FROZEN_LAYERS,
} as const;

/** Choices of the wiring. */
export type WiringChoice = OptionsOf<typeof WIRING_OPTIONS>;

/** Options of the wiring, apart from those of an adapter. @param schema Of the adapter: what it shares with wirings is both's */
export function splitWiring(
  options: JsonObject,
  schema: OptionSchema,
): { readonly wiring: WiringChoice; readonly own: JsonObject } {
  const isShared = (name: string): boolean => Object.hasOwn(schema, name);
  const isPlain = (options["wiring"] ?? PLAIN) === PLAIN;
  const taken = (isTaken: (name: string) => boolean): JsonObject =>
    Object.fromEntries(Object.entries(options).filter(([name]) => isTaken(name)));
  const isOfWiring = (name: string): boolean => Object.hasOwn(WIRING_OPTIONS, name);
  return {
    wiring: taken((name) => isOfWiring(name) && !(isPlain && isShared(name))) as WiringChoice, // which `resolveWiring` checks
    own: taken((name) => isShared(name) || !isOfWiring(name)),
  };
}

/** What was decided of a coupling. */
export interface WiringSettings {
  readonly of: CouplingKind;
  readonly wiring: CouplingName;
  readonly lambda: number;
  readonly beta: number;
  readonly switchStreams: boolean;
  readonly streams: "exact" | "f32";
  /** Null where it was not chosen. */
  readonly fractionBits: number | null;
  readonly combination: "mean" | "stream" | "alpha";
  readonly bottleneck: number;
  readonly bottleneckDropout: number;
  readonly frozenLayers: number;
}

/**
 * Shift of the small coefficient: measured on MiniLM, BERT (post-norm encoders stand 1/8) and SmolLM2 (a decoder does not). Smaller
 * ones learn no more, larger ones less, whether they stay, grow over a warm-up or are learnt: `scripts/study/reversible/lambda.ts`.
 */
const SHIFTS = { encoder: 3, decoder: 7 } as const;

/** Fractional bits where nobody has looked at the data: decoders have single values of tens of thousands. */
export const USUAL_FRACTION = { encoder: 16, decoder: 12 } as const;

/** A decoder with a larger coefficient begins with another loss than its own. */
const LARGEST_FOR_DECODERS = 1 / 32;

/** The options, decided. Problems: one sentence each. */
export function resolveWiring(
  options: WiringChoice & { readonly wiring: CouplingName },
  model: ModelConfig,
): { readonly settings: WiringSettings; readonly problems: string[]; readonly warnings: string[] } {
  const backbone = isDecoder(model) ? "decoder" : "encoder";
  const chosen = withDefaults(WIRING_OPTIONS, options);
  const of: CouplingKind = COUPLINGS[options.wiring];
  const usual = (name: "lambda" | "beta"): number => of.small.includes(name) ? 2 ** -SHIFTS[backbone] : 1;
  const settings: WiringSettings = {
    of,
    wiring: options.wiring,
    lambda: chosen.lambda ?? usual("lambda"),
    beta: chosen.beta ?? usual("beta"),
    switchStreams: chosen.switchStreams ?? of.switched,
    streams: chosen.streams,
    fractionBits: chosen.fractionBits ?? null,
    combination: chosen.combination ?? (backbone === "decoder" ? "stream" : "mean"),
    bottleneck: chosen.bottleneck,
    bottleneckDropout: chosen.bottleneckDropout,
    frozenLayers: chosen.frozenLayers,
  };
  const problems = optionProblems(WIRING_OPTIONS, { ...settings, fractionBits: chosen.fractionBits });
  if (problems.length === 0) problems.push(...relationProblems(settings, model));
  return { settings, problems, warnings: backbone === "decoder" ? decoderWarnings(settings) : [] };
}

/** What is wrong with options where no wiring couples anything. */
export function plainProblems({ wiring, ...options }: Omit<WiringChoice, "frozenLayers">): string[] {
  const others = Object.entries(options).filter(([, value]) => value !== undefined).map(([name]) => name);
  return [
    ...optionProblems({ wiring: WIRING_OPTIONS.wiring }, { wiring }),
    ...others.map((name) =>
      `${name} says nothing without a wiring that couples layers (${COUPLING_NAMES.join(", ")})`
    ),
  ];
}

/** What is recorded of a coupling: everything that the function of the model follows from. */
export function recordedWiring({ of: _, ...settings }: WiringSettings): JsonObject {
  return recordedOptions(WIRING_OPTIONS, settings);
}

function relationProblems(
  { lambda, beta, streams, fractionBits, frozenLayers }: WiringSettings,
  model: ModelConfig,
): string[] {
  const problems: string[] = [];
  for (const [name, value] of Object.entries({ lambda, beta })) {
    if (streams === "exact" && !isShift(value)) problems.push(notAPower(name, value));
  }
  if (streams === "f32" && fractionBits !== null) problems.push(`fractionBits says nothing of streams f32`);
  return [...problems, ...frozenProblems(frozenLayers, model)];
}

function isShift(value: number): boolean {
  const shift = -Math.log2(value);
  return Number.isInteger(shift) && shift >= 0 && shift <= MOST_SHIFT;
}

function notAPower(name: string, value: number): string {
  const near = [Math.floor, Math.ceil].map((to) =>
    2 ** Math.max(-MOST_SHIFT, Math.min(0, to(Math.log2(value))))
  );
  return `${name} is ${value}, but exact streams are multiplied by powers of two: ` +
    `use ${[...new Set(near)].join(" or ")}, or streams f32`;
}

/** SmolLM2-135M, whose plain loss is 3.75, at the start: see `WIRING_OPTIONS`. */
function decoderWarnings({ of, lambda, beta, wiring }: WiringSettings): string[] {
  const coefficients = { lambda, beta };
  return of.small.filter((name) => coefficients[name] > LARGEST_FOR_DECODERS).map((name) =>
    `${name} is ${coefficients[name]}: with ${wiring} a decoder then begins with much of what it knew lost ` +
    `(measured on SmolLM2-135M, whose loss is 3.75: 8.7 at 0.1, 11.6 at 1/8, 3.5 at 1/32, 3.6 at 1/128); ` +
    `up to 1/32 is sane, 1/128 the default`
  );
}

// SPDX-License-Identifier: Apache-2.0
/**
 * A run as one flat record: what the flags of `deno task train` say, by their camelCase names. One vocabulary for the command
 * line, for config files and for studies.
 */
import type { ActivationPolicyName } from "../activations/registry.ts";
import type { SavedAdapter } from "../adapters/files/adapter_files.ts";
import type { JsonObject } from "../core/json.ts";
import type { FormatOptions, OwnTemplate } from "../data/format_options.ts";
import type { LoadDataOptions } from "../data/load_data.ts";
import { readChatTemplate } from "../data/own_template.ts";
import { methodByName } from "../methods/registry.ts";
import type { Method } from "../methods/method.ts";
import type { AdamwOptions } from "../optim/adamw.ts";
import type { ClipScope } from "../optim/clip.ts";
import { adamw } from "../optim/registry.ts";
import { PUBLISHED_WARMUP_RATIO, type Schedule } from "../optim/schedule.ts";
import type { OpenModelOptions } from "./open_model.ts";
import type { PlacementChoice } from "./placement.ts";
import type { BatchChoice, RunOptions } from "./plan.ts";

/** Settings of a run; what is left out takes the default that `deno task train --help` shows. */
export interface TrainSettings {
  /** Hugging Face checkpoint folder. */
  readonly model?: string;
  readonly device?: NonNullable<OpenModelOptions["device"]>;
  readonly dtype?: NonNullable<OpenModelOptions["dtype"]>;
  readonly threads?: number;
  /** JSONL files that are trained on. */
  readonly data?: string | readonly string[];
  readonly seqLen?: number;
  readonly lossOn?: LoadDataOptions["lossOn"];
  /** "auto", "off", the file of a template, or a template itself. */
  readonly chatTemplate?: string | OwnTemplate;
  readonly thinking?: NonNullable<FormatOptions["thinking"]>;
  readonly system?: string;
  readonly templateOptions?: NonNullable<FormatOptions["templateOptions"]>;
  readonly badRows?: "stop" | "skip";
  /** Whether tokenised data is kept on disk for the next time. */
  readonly dataCache?: "on" | "off";
  /** JSONL files whose loss is watched. */
  readonly evalData?: string | readonly string[];
  readonly packing?: boolean;
  readonly method?: string;
  /** Saved adapter to start from. */
  readonly adapter?: string;
  readonly neurons?: number;
  readonly experts?: number;
  readonly activeExperts?: number;
  readonly topK?: number;
  readonly gate?: string;
  readonly scope?: string;
  readonly keys?: string;
  readonly placement?: NonNullable<PlacementChoice["placement"]>;
  readonly halves?: "auto" | "1" | "2" | 1 | 2;
  readonly cachedRows?: number;
  readonly rank?: number;
  readonly loraAlpha?: number;
  readonly loraDropout?: number;
  readonly rslora?: boolean;
  /** See `targets` of `lora`. */
  readonly target?: string | readonly string[];
  readonly excludeTarget?: string | readonly string[];
  readonly layersToTransform?: number | readonly number[];
  readonly rankPattern?: Readonly<Record<string, number>>;
  readonly alphaPattern?: Readonly<Record<string, number>>;
  readonly lr?: number;
  readonly schedule?: Schedule["kind"];
  readonly warmupRatio?: number;
  readonly weightDecay?: number;
  readonly adam?: NonNullable<AdamwOptions["mode"]>;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly adamEps?: number;
  /** 0 for none. */
  readonly clip?: number;
  readonly clipBy?: ClipScope;
  readonly epochs?: number;
  readonly steps?: number;
  readonly batchSize?: number;
  readonly microBatchSize?: number;
  readonly activations?: ActivationPolicyName;
  readonly seed?: number;
  readonly evalEvery?: number;
  readonly saveEvery?: number;
  readonly saveLimit?: number;
}

/** Names of all settings. */
export const SETTING_NAMES: readonly string[] = Object.keys(
  {
    model: 1,
    device: 1,
    dtype: 1,
    threads: 1,
    data: 1,
    seqLen: 1,
    lossOn: 1,
    chatTemplate: 1,
    thinking: 1,
    system: 1,
    templateOptions: 1,
    badRows: 1,
    dataCache: 1,
    evalData: 1,
    packing: 1,
    method: 1,
    adapter: 1,
    neurons: 1,
    experts: 1,
    activeExperts: 1,
    topK: 1,
    gate: 1,
    scope: 1,
    keys: 1,
    placement: 1,
    halves: 1,
    cachedRows: 1,
    rank: 1,
    loraAlpha: 1,
    loraDropout: 1,
    rslora: 1,
    target: 1,
    excludeTarget: 1,
    layersToTransform: 1,
    rankPattern: 1,
    alphaPattern: 1,
    lr: 1,
    schedule: 1,
    warmupRatio: 1,
    weightDecay: 1,
    adam: 1,
    beta1: 1,
    beta2: 1,
    adamEps: 1,
    clip: 1,
    clipBy: 1,
    epochs: 1,
    steps: 1,
    batchSize: 1,
    microBatchSize: 1,
    activations: 1,
    seed: 1,
    evalEvery: 1,
    saveEvery: 1,
    saveLimit: 1,
  } satisfies Record<keyof TrainSettings, 1>,
);

/** Settings that are options of an adapter, and what they are called there. */
export const ADAPTER_OPTIONS = {
  neurons: "neurons",
  experts: "experts",
  activeExperts: "activeExperts",
  topK: "topK",
  gate: "gate",
  scope: "scope",
  keys: "keys",
  rank: "rank",
  loraAlpha: "alpha",
  loraDropout: "dropout",
  rslora: "useRslora",
  target: "targets",
  excludeTarget: "excludeTargets",
  layersToTransform: "layersToTransform",
  rankPattern: "rankPattern",
  alphaPattern: "alphaPattern",
} as const;

const SPARSE = ["sparse"];
const LORA = ["lora"];

/** Methods that a setting makes sense for; every other setting makes sense for all. */
const METHODS_OF: Readonly<Partial<Record<string, readonly string[]>>> = {
  neurons: ["sparse", "parallel"],
  experts: SPARSE,
  activeExperts: SPARSE,
  topK: SPARSE,
  gate: SPARSE,
  scope: SPARSE,
  keys: SPARSE,
  placement: SPARSE,
  halves: SPARSE,
  cachedRows: SPARSE,
  adam: SPARSE,
  rank: LORA,
  loraAlpha: LORA,
  loraDropout: LORA,
  rslora: LORA,
  target: LORA,
  excludeTarget: LORA,
  layersToTransform: LORA,
  rankPattern: LORA,
  alphaPattern: LORA,
};

/** Methods that a setting makes sense for; null for all. */
export function methodsOf(setting: string): readonly string[] | null {
  return METHODS_OF[setting] ?? null;
}

/** Names of the settings that an adapter to start from brings itself. */
export const ADAPTER_SETTINGS: readonly string[] = Object.keys(ADAPTER_OPTIONS);

/** The object's members that are not undefined: options left out must be absent. */
function given<T extends object>(options: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** Name of the method that the settings name, or that of the adapter to start from. */
export function methodName(settings: TrainSettings, start: SavedAdapter | null): string {
  return settings.method ?? start?.spec.kind ?? "sparse";
}

/**
 * How rows become text.
 *
 * @throws {UserError} When the file of a template cannot be used
 */
export function formatOptionsOf(
  settings: TrainSettings,
): Omit<Required<FormatOptions>, "system"> & Pick<FormatOptions, "system"> {
  const { chatTemplate = "auto", thinking = "auto", system, templateOptions = {} } = settings;
  return {
    chatTemplate: typeof chatTemplate === "string" ? readChatTemplate(chatTemplate) : chatTemplate,
    thinking,
    ...(system === undefined ? {} : { system }),
    templateOptions,
  };
}

/** How the data files are read. @throws {UserError} As {@linkcode formatOptionsOf} */
export function dataOptionsOf(
  settings: TrainSettings,
):
  & ReturnType<typeof formatOptionsOf>
  & Required<Pick<LoadDataOptions, "seqLen" | "lossOn" | "badRows" | "cache">> {
  return {
    ...formatOptionsOf(settings),
    seqLen: settings.seqLen ?? 256,
    lossOn: settings.lossOn ?? "completion",
    badRows: settings.badRows ?? "stop",
    cache: settings.dataCache !== "off",
  };
}

/** Where the model runs. */
export function openOptionsOf(settings: TrainSettings): OpenModelOptions {
  return given<OpenModelOptions>({
    device: settings.device,
    dtype: settings.dtype,
    threads: settings.threads,
  });
}

/** The options of `plan` that the settings say. */
export function runOptionsOf(
  settings: TrainSettings,
  start: SavedAdapter | null,
  out: string | null,
): RunOptions {
  return given<RunOptions>({
    method: methodOf(settings, start),
    start,
    optimizer: adamw(optimizerOf(settings)),
    batch: given<BatchChoice>({
      size: settings.batchSize,
      micro: settings.microBatchSize,
      seqLen: settings.seqLen,
      packing: settings.packing,
    }),
    steps: settings.steps,
    epochs: settings.epochs,
    format: formatOptionsOf(settings),
    seed: settings.seed,
    activations: settings.activations,
    placement: settings.placement,
    halves: halvesOf(settings.halves),
    cachedRows: settings.cachedRows,
    out,
    saveEvery: settings.saveEvery,
    saveTotalLimit: settings.saveLimit,
    evalEvery: settings.evalEvery,
  });
}

function halvesOf(halves: TrainSettings["halves"]): "auto" | 1 | 2 | undefined {
  return halves === undefined || halves === "auto" ? halves : Number(halves) as 1 | 2;
}

function methodOf(settings: TrainSettings, start: SavedAdapter | null): Method {
  const options = Object.fromEntries(
    Object.entries(ADAPTER_OPTIONS)
      .map(([setting, option]) => [option, patternAlone(settings[setting as keyof typeof ADAPTER_OPTIONS])])
      .filter(([, value]) => value !== undefined),
  );
  return methodByName(methodName(settings, start), options as JsonObject);
}

/** A list of one text that is no name, as command lines give it, is that regular expression. */
function patternAlone(value: unknown): unknown {
  const [only] = Array.isArray(value) && value.length === 1 ? value : [];
  return typeof only === "string" && !/^[\w.-]+$/.test(only) ? only : value;
}

function optimizerOf(settings: TrainSettings): AdamwOptions {
  return {
    ...given<AdamwOptions>({
      lr: settings.lr,
      weightDecay: settings.weightDecay,
      beta1: settings.beta1,
      beta2: settings.beta2,
      eps: settings.adamEps,
      mode: settings.adam,
      clipBy: settings.clipBy,
    }),
    ...(settings.clip === undefined ? {} : { clip: settings.clip === 0 ? null : settings.clip }),
    schedule: {
      kind: settings.schedule ?? "linear",
      warmupRatio: settings.warmupRatio ?? PUBLISHED_WARMUP_RATIO,
    },
  };
}

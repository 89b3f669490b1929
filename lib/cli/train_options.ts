// SPDX-License-Identifier: Apache-2.0
/** From the flags of `train` to the options of the public API. */
import type { SavedAdapter } from "../adapters/adapter_files.ts";
import type { JsonObject } from "../core/json.ts";
import { methodByName } from "../methods/registry.ts";
import type { Method } from "../methods/method.ts";
import type { AdamwOptions } from "../optim/adamw.ts";
import { adamw } from "../optim/registry.ts";
import { PUBLISHED_WARMUP_RATIO, type Schedule } from "../optim/schedule.ts";
import type { RunOptions } from "../train/plan.ts";
import type { FlagValues } from "./flags.ts";
import { TRAIN_FLAGS } from "./train_flags.ts";

/** Flags that are options of an adapter, and what they are called there. */
const ADAPTER_FLAGS = {
  neurons: "neurons",
  experts: "experts",
  "active-experts": "activeExperts",
  "top-k": "topK",
  gate: "gate",
  scope: "scope",
  keys: "keys",
  rank: "rank",
  "lora-alpha": "alpha",
  "lora-dropout": "dropout",
  rslora: "useRslora",
  target: "targets",
} as const;

/** The object's members that are not undefined: options left out must be absent. */
function given<T extends object>(options: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

/** Flags that were given although the method has no use for them. @mutates problems */
export function refuseForeignFlags(values: FlagValues, method: string, problems: string[]): void {
  for (const flag of TRAIN_FLAGS) {
    if (values[flag.name] === undefined || !flag.methods || flag.methods.includes(method)) continue;
    problems.push(
      `--${flag.name} does not apply to --method ${method}, only to ${flag.methods.join(" and ")}`,
    );
  }
  if (values.placement === "device") {
    problems.push("--placement device: this build has no GPU backend; use --placement host");
  }
}

/** Sizes and modes that were given although the adapter to start from brings its own. @mutates problems */
export function refuseSettledFlags(values: FlagValues, problems: string[]): void {
  if (values.adapter === undefined) return;
  for (const name of Object.keys(ADAPTER_FLAGS).filter((flag) => values[flag] !== undefined)) {
    problems.push(`--${name} does not apply with --adapter, which brings its own`);
  }
}

/** The method that the flags name, or that of the adapter to start from, with the adapter's options. */
export function readMethod(values: FlagValues, start: SavedAdapter | null): Method {
  const options = Object.fromEntries(
    Object.entries(ADAPTER_FLAGS)
      .filter(([flag]) => values[flag] !== undefined)
      .map(([flag, option]) => [option, values[flag]]),
  );
  return methodByName(methodName(values, start), options as JsonObject);
}

/** Name of the method that the flags name, or that of the adapter to start from. */
export function methodName(values: FlagValues, start: SavedAdapter | null): string {
  return (values.method ?? start?.spec.kind ?? "sparse") as string;
}

function readSchedule(values: FlagValues): Schedule {
  return {
    kind: (values.schedule ?? "linear") as Schedule["kind"],
    warmupRatio: (values["warmup-ratio"] ?? PUBLISHED_WARMUP_RATIO) as number,
  };
}

function readOptimizer(values: FlagValues): AdamwOptions {
  return {
    ...given<AdamwOptions>({
      lr: values.lr as number,
      weightDecay: values["weight-decay"] as number,
      beta1: values.beta1 as number,
      beta2: values.beta2 as number,
      eps: values["adam-eps"] as number,
      mode: values.adam as NonNullable<AdamwOptions["mode"]>,
    }),
    ...(values.clip === undefined ? {} : { clip: values.clip === 0 ? null : values.clip as number }),
    schedule: readSchedule(values),
  };
}

/** The options of {@linkcode plan} that the flags say. */
export function readRunOptions(values: FlagValues, start: SavedAdapter | null, out: string): RunOptions {
  return given<RunOptions>({
    method: readMethod(values, start),
    start,
    optimizer: adamw(readOptimizer(values)),
    batch: given<NonNullable<RunOptions["batch"]>>({
      size: values["batch-size"] as number,
      micro: values["micro-batch-size"] as number,
      seqLen: values["seq-len"] as number,
      packing: values.packing as boolean,
    }),
    steps: values.steps as number,
    epochs: values.epochs as number,
    seed: values.seed as number,
    activations: values.activations as NonNullable<RunOptions["activations"]>,
    out,
    saveEvery: values["save-every"] as number,
    saveTotalLimit: values["save-limit"] as number,
    evalEvery: values["eval-every"] as number,
  });
}

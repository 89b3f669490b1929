// SPDX-License-Identifier: Apache-2.0
/** From the flags of `train` to the options of the public API. */
import type { JsonObject } from "../core/json.ts";
import { methodByName } from "../methods/registry.ts";
import type { Method } from "../methods/method.ts";
import type { AdamwOptions } from "../optim/adamw.ts";
import { adamw } from "../optim/registry.ts";
import { PUBLISHED_WARMUP_RATIO, type Schedule } from "../optim/schedule.ts";
import type { RunOptions } from "../train/plan.ts";
import { camelCase, type FlagValues } from "./flags.ts";
import { TRAIN_FLAGS } from "./train_flags.ts";

/** Flags that are options of the adapter, by the same name in camelCase. */
const ADAPTER_FLAGS = ["neurons", "experts", "active-experts", "top-k", "gate", "scope", "keys"] as const;

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

/** The method that the flags name, with its adapter's options. */
export function readMethod(values: FlagValues): Method {
  const options = Object.fromEntries(
    ADAPTER_FLAGS.filter((name) => values[name] !== undefined).map((name) => [camelCase(name), values[name]]),
  );
  return methodByName((values.method ?? "sparse") as string, options as JsonObject);
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
export function readRunOptions(values: FlagValues, out: string): RunOptions {
  return given<RunOptions>({
    method: readMethod(values),
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

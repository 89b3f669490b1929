// SPDX-License-Identifier: Apache-2.0
/** From the flags of `train` to the settings of the public API, and what flags do not go together. */
import type { SavedAdapter } from "../adapters/files/adapter_files.ts";
import type { RunOptions } from "../train/plan.ts";
import { ADAPTER_OPTIONS, ADAPTER_SETTINGS, runOptionsOf } from "../train/settings.ts";
import { settingsOf } from "./flag_settings.ts";
import { camelCase, type FlagValues } from "./flags.ts";
import { TRAIN_FLAGS } from "./train_flags.ts";

/** The flag of an adapter's option: `topK` is `top-k`. Options without a flag are written in the same way. */
export function adapterFlagName(option: string): string {
  const setting = Object.entries(ADAPTER_OPTIONS).find(([, name]) => name === option)?.[0] ?? option;
  return setting.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Flags that were given although the method has no use for them. @mutates problems */
export function refuseForeignFlags(values: FlagValues, method: string, problems: string[]): void {
  for (const flag of TRAIN_FLAGS) {
    if (values[flag.name] === undefined || !flag.methods || flag.methods.includes(method)) continue;
    problems.push(
      `--${flag.name} does not apply to --method ${method}, only to ${flag.methods.join(" and ")}`,
    );
  }
}

/** Sizes and modes that were given although the adapter to start from brings its own. @mutates problems */
export function refuseSettledFlags(values: FlagValues, problems: string[]): void {
  if (values.adapter === undefined) return;
  for (const name of TRAIN_FLAGS.map((flag) => flag.name)) {
    if (values[name] === undefined || !ADAPTER_SETTINGS.includes(camelCase(name))) continue;
    problems.push(`--${name} does not apply with --adapter, which brings its own`);
  }
}

/** The options of {@linkcode plan} that the flags say. */
export function readRunOptions(
  values: FlagValues,
  start: SavedAdapter | null,
  out: string | null,
): RunOptions {
  return runOptionsOf(settingsOf(values), start, out);
}

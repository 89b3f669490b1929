// SPDX-License-Identifier: Apache-2.0
/** From the flags of `train` to the settings of the public API, and what flags do not go together. */
import { listed } from "../../core/listed.ts";
import type { SavedAdapter } from "../../adapters/files/saved_adapter.ts";
import type { RunOptions } from "../../train/plan.ts";
import { SETTINGS } from "../../train/setting_table.ts";
import { runOptionsOf } from "../../train/settings.ts";
import { settingsOf } from "./settings.ts";
import type { FlagValues } from "./flags.ts";
import { TRAIN_FLAGS } from "./train.ts";

/** Flags that were given although the method has no use for them. @mutates problems */
export function refuseForeignFlags(values: FlagValues, method: string, problems: string[]): void {
  for (const flag of TRAIN_FLAGS) {
    if (values[flag.name] === undefined || !flag.methods || flag.methods.includes(method)) continue;
    problems.push(
      `--${flag.name} does not apply to --method ${method}, only to ${listed(flag.methods)}`,
    );
  }
}

/** Sizes and modes that were given although the adapter to start from brings its own. @mutates problems */
export function refuseSettledFlags(values: FlagValues, problems: string[]): void {
  if (values.adapter === undefined) return;
  for (const { flag, owner } of SETTINGS) {
    if (values[flag] === undefined || owner !== "adapter") continue;
    problems.push(`--${flag} does not apply with --adapter, which brings its own`);
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

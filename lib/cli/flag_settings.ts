// SPDX-License-Identifier: Apache-2.0
/** Flags of `train` as the settings of the public API: the same names, in camelCase. */
import type { TrainSettings } from "../train/settings.ts";
import { camelCase, type FlagValues } from "./flags.ts";

/** Flags that are given one by one, and are one setting. */
const COLLECTED: Readonly<Record<string, keyof TrainSettings>> = { "template-option": "templateOptions" };

/** The setting that a flag says. */
export function settingName(flag: string): string {
  return COLLECTED[flag] ?? camelCase(flag);
}

/** Values as settings. Their types are those of the flag table, which has checked them. */
export function settingsOf(values: FlagValues): TrainSettings {
  return Object.fromEntries(Object.entries(values).map(([flag, value]) => [settingName(flag), value]));
}

// SPDX-License-Identifier: Apache-2.0
/** Flags of `train` as the settings of the public API. */
import { camelCase } from "../../core/options.ts";
import { SETTINGS } from "../../train/setting_table.ts";
import type { TrainSettings } from "../../train/settings.ts";
import type { FlagValues } from "./flags.ts";

/** The setting that a flag says. */
export function settingName(flag: string): string {
  return SETTINGS.find((setting) => setting.flag === flag)?.name ?? camelCase(flag);
}

/** Values as settings. Their types are those of the options, which have checked them. */
export function settingsOf(values: FlagValues): TrainSettings {
  return Object.fromEntries(Object.entries(values).map(([flag, value]) => [settingName(flag), value]));
}

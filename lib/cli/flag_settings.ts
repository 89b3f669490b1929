// SPDX-License-Identifier: Apache-2.0
/** Flags of `train` as the settings of the public API: the same names, in camelCase. */
import type { TrainSettings } from "../train/settings.ts";
import { camelCase, type FlagValues } from "./flags.ts";

/** Values as settings. Their types are those of the flag table, which has checked them. */
export function settingsOf(values: FlagValues): TrainSettings {
  return Object.fromEntries(Object.entries(values).map(([flag, value]) => [camelCase(flag), value]));
}

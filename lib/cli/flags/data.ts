// SPDX-License-Identifier: Apache-2.0
/** What flags say of the data that is read. */
import { dataOptionsOf } from "../../train/settings.ts";
import { DEMO } from "../session.ts";
import type { FlagValues } from "./flags.ts";
import { settingsOf } from "./settings.ts";

/** The data files that the flags name. */
export function dataPaths(values: FlagValues): readonly string[] {
  return (values.data ?? [DEMO.facts]) as readonly string[];
}

/** How they are read. */
export function dataOptions(values: FlagValues): ReturnType<typeof dataOptionsOf> {
  return dataOptionsOf(settingsOf(values));
}

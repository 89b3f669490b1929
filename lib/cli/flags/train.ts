// SPDX-License-Identifier: Apache-2.0
/** The flags of `deno task train`: the settings of a run, and what is of one call alone. */
import { toggle } from "../../core/options.ts";
import { type Setting, SETTINGS } from "../../train/setting_table.ts";
import { type Flag, flagsOf } from "./flags.ts";
import { REPORT_OPTIONS } from "./report.ts";

function settingFlag({ name: setting, flag: name, methods, ...spec }: Setting): Flag {
  return { ...spec, name, setting, ...(methods === null ? {} : { methods }) };
}

/** All of them. */
export const TRAIN_FLAGS: readonly Flag[] = [
  ...SETTINGS.map(settingFlag),
  ...flagsOf({
    resume: toggle({
      ofCall: true,
      help:
        "continue from the newest checkpoint in --out, with the flags of its run; those given now may change how long it is, how it is computed, and what is kept",
    }),
    dryRun: toggle({
      ofCall: true,
      help: "predict memory, work and time, and whether it fits; works for a config.json alone; then stop",
    }),
  }),
  ...flagsOf(REPORT_OPTIONS),
];

// SPDX-License-Identifier: Apache-2.0
/**
 * A run as one flat record: what the flags of `deno task train` say, by their camelCase names. One vocabulary for the command
 * line, for config files and for studies, read off the options that their owners declare.
 */
import type { SavedAdapter } from "../adapters/files/saved_adapter.ts";
import type { JsonObject } from "../core/json.ts";
import { withDefaults } from "../core/option_checks.ts";
import { DATA_OPTIONS } from "../data/data_options.ts";
import type { FormatOptions, OwnTemplate } from "../data/format_options.ts";
import type { LoadDataOptions } from "../data/load_data.ts";
import { readChatTemplate } from "../data/own_template.ts";
import { DEFAULT_METHOD, methodByName } from "../methods/methods.ts";
import { adamw } from "../optim/registry.ts";
import { SCHEDULE_OPTIONS } from "../optim/schedule.ts";
import { MACHINE_OPTIONS, type OpenModelOptions } from "./open_model.ts";
import { VOCABULARY_OPTIONS } from "./open_vocabulary.ts";
import type { RunOptions } from "./plan.ts";
import { optionsAt, type SettingValues } from "./setting_table.ts";

/** Settings of a run; what is left out takes the default that `deno task train --help` shows. */
export interface TrainSettings extends Omit<SettingValues, "chatTemplate"> {
  /** "auto", "off", the file of a template, or a template itself. */
  readonly chatTemplate?: string | OwnTemplate;
}

/** Name of the method that the settings name, or that of the adapter to start from. */
export function methodName(settings: TrainSettings, start: SavedAdapter | null): string {
  return settings.method ?? start?.spec.kind ?? DEFAULT_METHOD;
}

/**
 * How rows become text.
 *
 * @throws {UserError} When the file of a template cannot be used
 */
export function formatOptionsOf(
  { chatTemplate: template, ...settings }: TrainSettings,
): Required<Pick<FormatOptions, "chatTemplate" | "thinking" | "templateOptions">> & FormatOptions {
  const chosen = withDefaults(DATA_OPTIONS, settings);
  const { chatTemplate, thinking, templateOptions = {} } = chosen;
  return {
    chatTemplate: typeof template === "object" ? template : readChatTemplate(template ?? chatTemplate),
    thinking,
    ...given(["system", "sourceField", "targetField", "sourcePrefix", "srcLang", "tgtLang"], chosen),
    templateOptions,
  };
}

/** How the data files are read. @throws {UserError} As {@linkcode formatOptionsOf} */
export function dataOptionsOf(
  settings: TrainSettings,
):
  & ReturnType<typeof formatOptionsOf>
  & Required<Pick<LoadDataOptions, "seqLen" | "lossOn" | "badRows" | "cache">>
  & Pick<LoadDataOptions, "targetLen"> {
  const { chatTemplate: _, ...plain } = settings;
  const { seqLen, targetLen, lossOn, badRows, dataCache } = withDefaults(DATA_OPTIONS, plain);
  return {
    ...formatOptionsOf(settings),
    ...{ seqLen, lossOn, badRows, cache: dataCache !== "off" },
    ...(targetLen !== undefined && { targetLen }),
  };
}

/** Where the model runs, and with what vocabulary. */
export function openOptionsOf(settings: TrainSettings): OpenModelOptions {
  const names = Object.keys({ ...MACHINE_OPTIONS, ...VOCABULARY_OPTIONS });
  return given(names as (keyof typeof MACHINE_OPTIONS | keyof typeof VOCABULARY_OPTIONS)[], settings);
}

/** The named members that are not undefined, in the order of the names: options left out must be absent. */
function given<T extends object, N extends keyof T>(
  names: readonly N[],
  settings: T,
): { readonly [name in N]?: Exclude<T[name], undefined> } {
  const entries = names.filter((name) => settings[name] !== undefined).map((name) => [name, settings[name]]);
  return Object.fromEntries(entries);
}

/** The options of `plan` that the settings say. */
export function runOptionsOf(
  settings: TrainSettings,
  start: SavedAdapter | null,
  out: string | null,
): RunOptions {
  const schedule = withDefaults(SCHEDULE_OPTIONS, optionsAt("optimizer.schedule", settings));
  const { seqLen } = settings;
  return {
    method: methodByName(methodName(settings, start), optionsAt("adapter", settings) as JsonObject),
    start,
    optimizer: adamw({ ...optionsAt("optimizer", settings), schedule }),
    batch: { ...optionsAt("batch", settings), ...(seqLen === undefined ? {} : { seqLen }) },
    ...optionsAt("run", settings),
    format: formatOptionsOf(settings),
    out,
  };
}

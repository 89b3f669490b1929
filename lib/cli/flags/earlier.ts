// SPDX-License-Identifier: Apache-2.0
/** The flags of runs that did not write them down, told from what was decided for them. */
import { isJsonObject, type Json, type JsonObject } from "../../core/json.ts";
import { camelCase } from "../../core/options.ts";
import { asSetting, methodsOf, type SettingOwner, SETTINGS } from "../../train/setting_table.ts";

/**
 * Flags, in camelCase, that decide the same run as `run.json` of an earlier version tells of. What it does not tell is left
 * out: how rows were read beyond their length, the evaluation data, and the report's flags.
 */
export function flagsOfEarlier(record: JsonObject): JsonObject {
  const [identity, settings, base, data] = ["identity", "settings", "base", "data"].map((name) =>
    objectIn(record, name)
  ) as [JsonObject, JsonObject, JsonObject, JsonObject];
  const method = typeof record.method === "string" ? record.method : "";
  const start = record.start ?? null;
  const [optimizer, batch] = [objectIn(identity, "optimizer"), objectIn(settings, "batch")];
  const known = {
    model: base.name,
    dtype: identity.compute,
    data: data.files,
    method,
    ...(start === null ? flagsAt("adapter", objectIn(identity, "adapter")) : { adapter: start }),
    ...flagsAt("optimizer", optimizer),
    ...flagsAt("optimizer.schedule", objectIn(optimizer, "schedule")),
    ...flagsAt("batch", batch),
    seqLen: batch.seqLen,
    ...formatFlags(objectIn(settings, "format")),
    ...flagsAt("run", settings),
    evalEvery: null, // of data that is not told
  };
  return Object.fromEntries(
    Object.entries(known).filter(([name, value]) =>
      value !== undefined && value !== null && (methodsOf(name)?.includes(method) ?? true)
    ),
  ) as JsonObject;
}

type Flags = Readonly<Record<string, Json | undefined>>;

/** What a part of a run says of its options, as flags. */
function flagsAt(owner: SettingOwner, part: JsonObject): Flags {
  const told = SETTINGS.filter((setting) =>
    setting.owner === owner && !setting.ofCall && part[setting.option] !== undefined
  );
  return Object.fromEntries(
    told.map((setting) => [camelCase(setting.flag), asSetting(setting, part[setting.option]) as Json]),
  );
}

function formatFlags({ chatTemplate, thinking, system, templateOptions }: JsonObject): Flags {
  // A template of one's own is called by its file.
  const template = isJsonObject(chatTemplate) ? chatTemplate.name ?? null : chatTemplate;
  return { chatTemplate: template, thinking, system, templateOption: templateOptions };
}

function objectIn(parent: JsonObject, name: string): JsonObject {
  const value = parent[name];
  return isJsonObject(value) ? value : {};
}

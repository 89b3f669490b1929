// SPDX-License-Identifier: Apache-2.0
/** The flags of runs that did not write them down, told from what was decided for them. */
import { isJsonObject, type Json, type JsonObject } from "../core/json.ts";
import { ADAPTER_OPTIONS, methodsOf } from "../train/settings.ts";

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
  const known = {
    model: base.name,
    dtype: identity.compute,
    data: data.files,
    method,
    ...(start === null ? adapterFlags(objectIn(identity, "adapter")) : { adapter: start }),
    ...optimizerFlags(objectIn(identity, "optimizer")),
    ...batchFlags(objectIn(settings, "batch")),
    ...formatFlags(objectIn(settings, "format")),
    steps: settings.steps,
    epochs: settings.epochs,
    seed: settings.seed,
    activations: settings.activations,
    saveEvery: settings.saveEvery,
    saveLimit: settings.saveTotalLimit,
  };
  return Object.fromEntries(
    Object.entries(known).filter(([name, value]) =>
      value !== undefined && value !== null && (methodsOf(name)?.includes(method) ?? true)
    ),
  ) as JsonObject;
}

type Flags = Readonly<Record<string, Json | undefined>>;

function adapterFlags(config: JsonObject): Flags {
  return Object.fromEntries(
    Object.entries(ADAPTER_OPTIONS).map(([flag, option]) => [flag, config[option]]),
  );
}

function optimizerFlags(
  { lr, schedule, weightDecay, mode, beta1, beta2, eps, clip, clipBy }: JsonObject,
): Flags {
  const { kind, warmupRatio } = isJsonObject(schedule) ? schedule : {};
  return {
    lr,
    schedule: kind,
    warmupRatio,
    weightDecay,
    adam: mode,
    beta1,
    beta2,
    adamEps: eps,
    clip: clip ?? 0,
    clipBy,
  };
}

function batchFlags({ size, micro, seqLen, packing }: JsonObject): Flags {
  return { batchSize: size, microBatchSize: micro, seqLen, packing: packing === true ? true : null };
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

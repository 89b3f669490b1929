// SPDX-License-Identifier: Apache-2.0
/** What would fit a device that had no room for a step: advice by the same passes that predict a run. */
import { leanerActivations } from "../activations/registry.ts";
import { undoRefusal } from "../adapters/adapter.ts";
import type { DeviceFacts } from "../native/device_memory.ts";
import type { Run } from "../train/plan.ts";
import { rememberedBy, type RunSettings } from "../train/run_options.ts";
import { flagOfOption } from "../train/setting_table.ts";
import { fullBatches } from "./batch_sizes.ts";
import { countedRun } from "./counted_passes.ts";
import { largest } from "./fit.ts";
import { type MemoryPrediction, predictMemory } from "./memory.ts";

/** Settings that would do. */
export interface DeviceAdvice {
  readonly micro: number;
  readonly activations: RunSettings["activations"];
}

/** Classes that hold parameters trained on the device, with what belongs to them. */
const TRAINED = ["parameters", "gradients", "optimizer"] as const;

/** Bytes that the activations of a step of full rows take on a device, whose arenas reserve whole blocks. */
export async function deviceActivationBytes(
  { model, adapterKind, settings, rows: { halves } }: Run,
): Promise<number> {
  const { batch } = settings;
  const { first, later, longest } = fullBatches(settings, model.config.head);
  const counted = countedRun(model, adapterKind, {
    ...rememberedBy(settings),
    halves,
    tokensPerStep: batch.size * batch.seqLen,
    kernels: { ...model.kernels, device: true },
  });
  await counted.train(first, { first: true, longest });
  if (later !== null) await counted.train(later, { longest });
  return counted.kernels.device?.ledger.held.get("activations") ?? 0;
}

/** The mildest change with which a step fits: smaller micro-batches, then recomputed activations; null when none will do. */
export async function fittingSettings(run: Run, facts: DeviceFacts): Promise<DeviceAdvice | null> {
  const { adapterKind, settings: { batch, activations } } = run;
  const room = activationRoom(run, await predictMemory(run), facts);
  const fits = async (advice: DeviceAdvice): Promise<boolean> => {
    const settings = {
      ...run.settings,
      batch: { ...batch, micro: advice.micro },
      activations: advice.activations,
    };
    return await deviceActivationBytes({ ...run, settings }) <= room;
  };
  const micro = Math.min(batch.micro, batch.size);
  const ways = [
    { activations, most: micro - 1 },
    ...leanerActivations(activations, undoRefusal(adapterKind) === null).map((leaner) => ({
      activations: leaner,
      most: micro,
    })),
  ];
  for (const way of ways) {
    const rows = await largest(way.most, (micro) => fits({ micro, activations: way.activations }));
    if (rows !== null) return { micro: rows, activations: way.activations };
  }
  return null;
}

/** Bytes that activations could have, were all of theirs given back: without what others hold or will yet need. */
function activationRoom(
  { adapterKind }: Run,
  memory: MemoryPrediction,
  { freeBytes, ledger, refused }: DeviceFacts,
): number {
  const held = (name: string): number => ledger[name]?.bytes ?? 0;
  const wanted = (name: string): number => refused?.class === name ? refused.bytes : 0;
  const workspace = Math.max(ledger["workspace"]?.peakBytes ?? 0, held("workspace") + wanted("workspace"));
  const onDevice = !adapterKind.placements.includes("host"); // where rows live
  const trained = TRAINED.reduce(
    (sum, name) => sum + (onDevice ? Math.max(0, (memory.bytes[name] ?? 0) - held(name)) : 0),
    0,
  );
  const room = freeBytes + held("activations") + held("workspace") - workspace - trained;
  return room - wanted("cache") - wanted("weights");
}

/** {@linkcode fittingSettings} as the end of a sentence. */
export async function adviseDevice(run: Run, facts: DeviceFacts): Promise<string> {
  const { batch, activations } = run.settings;
  const advice = await fittingSettings(run, facts);
  if (advice === null) {
    return "no micro-batch fits beside that, with recomputed activations either: take a smaller model or adapter, or device cpu";
  }
  const micro = flagOfOption("batch", "micro");
  const flags = [
    ...(advice.micro === Math.min(batch.micro, batch.size) ? [] : [`--${micro} ${advice.micro}`]),
    ...(advice.activations === activations
      ? []
      : [`--${flagOfOption("run", "activations")} ${advice.activations}`]),
  ];
  return `what would fit: ${flags.join(" ")}`;
}

// SPDX-License-Identifier: Apache-2.0
/** Whether a run fits into memory, and the smallest change of settings with which it would. */
import { leanerActivations, possibleActivations } from "../activations/registry.ts";
import { type Adapter, undoRefusal } from "../adapters/adapter.ts";
import { resolveAdapter } from "../adapters/registry.ts";
import type { Run } from "../train/plan.ts";
import type { RunSettings } from "../train/run_options.ts";
import { flagOfOption } from "../train/setting_table.ts";
import { type MemoryPrediction, predictMemory } from "./memory.ts";

/** Settings that would do, by flag. */
export interface Advice {
  /** As flags of `train`, in the order in which they are to be given. */
  readonly flags: Readonly<Record<string, string | number>>;
  /** Bytes that the run would need then, mapped weights left out. */
  readonly neededBytes: number;
}

/** How a run fits. */
export interface Fit {
  readonly fits: boolean;
  /** Bytes that must stay in memory: all but the mapped weights, which the system reads again when it has dropped them. */
  readonly neededBytes: number;
  readonly availableBytes: number;
  /** Whether there is room for the weights too; else every step reads a part of them from the disk. */
  readonly weightsStay: boolean;
  /** What to change; null when it fits, or when no such change is enough. */
  readonly advice: Advice | null;
}

/** Bytes that cannot be dropped. */
export function neededBytes({ residentBytes }: MemoryPrediction): number {
  const { weights: _mapped, ...others } = residentBytes;
  return Object.values(others).reduce((sum, bytes) => sum + bytes, 0);
}

/** What of a prediction is the host's: all of it, unless the model is on a device. */
type HostPart = (memory: MemoryPrediction) => MemoryPrediction;

/** Judges a prediction by what is available. @param hostPart Of the predictions for other settings */
export async function judgeFit(
  run: Run,
  memory: MemoryPrediction,
  availableBytes: number,
  hostPart: HostPart = (other) => other,
): Promise<Fit> {
  const needed = neededBytes(memory);
  const fits = needed <= availableBytes;
  return {
    fits,
    neededBytes: needed,
    availableBytes,
    weightsStay: needed + (memory.residentBytes.weights ?? 0) <= availableBytes,
    advice: fits ? null : await adviseFit(run, availableBytes, hostPart),
  };
}

/** The settings to try, mildest first: less at once, then more computing, then both, then a smaller adapter. */
async function adviseFit(run: Run, availableBytes: number, hostPart: HostPart): Promise<Advice | null> {
  const { settings: { batch, activations } } = run;
  const fitsWith = async (changes: Changes): Promise<boolean> =>
    neededBytes(hostPart(await changed(run, changes))) <= availableBytes;
  const micro = await largest(batch.micro - 1, (rows) => fitsWith({ micro: rows }));
  if (micro !== null) return advice(run, { micro }, hostPart);
  for (const leaner of leanerActivations(activations, undoRefusal(run.adapterKind) === null)) {
    if (await fitsWith({ activations: leaner })) return advice(run, { activations: leaner }, hostPart);
    const rows = await largest(batch.micro - 1, (rows) => fitsWith({ activations: leaner, micro: rows }));
    if (rows !== null) return advice(run, { activations: leaner, micro: rows }, hostPart);
  }
  const size = run.start === null ? run.adapterKind.shrinksBy : undefined;
  if (size === undefined) return null;
  const least: Changes = {
    activations: possibleActivations(undoRefusal(run.adapterKind) === null).at(-1) ?? activations,
    micro: 1,
  };
  const smaller = await largest(
    Math.floor(size.now / size.step) - 1,
    (n) => fitsWith({ ...least, size: n * size.step }),
  );
  return smaller === null ? null : advice(run, { ...least, size: smaller * size.step }, hostPart);
}

/** The largest whole number from 1 to `most` that will do; null when none will. What will do for n does for less. */
export async function largest(
  most: number,
  willDo: (n: number) => boolean | Promise<boolean>,
): Promise<number | null> {
  if (most < 1 || !await willDo(1)) return null;
  let [low, high] = [1, most];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (await willDo(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

interface Changes {
  readonly micro?: number;
  readonly activations?: RunSettings["activations"];
  /** Of the adapter, by the option that it names. */
  readonly size?: number;
}

/** The prediction with other settings, for full rows. */
function changed(run: Run, { micro, activations, size }: Changes): Promise<MemoryPrediction> {
  const { settings } = run;
  return predictMemory({
    ...run,
    adapterKind: size === undefined ? run.adapterKind : ofSize(run, size),
    settings: {
      ...settings,
      batch: { ...settings.batch, micro: micro ?? settings.batch.micro },
      activations: activations ?? settings.activations,
    },
  });
}

/** The run's adapter with another size. */
function ofSize({ adapterKind: { kind, config, shrinksBy }, model }: Run, size: number): Adapter {
  const options = shrinksBy ? { ...config, [shrinksBy.option]: size } : config;
  return resolveAdapter({ kind, options }, model.config).adapter;
}

async function advice(run: Run, changes: Changes, hostPart: HostPart): Promise<Advice> {
  const { micro, activations, size } = changes;
  const { shrinksBy } = run.adapterKind;
  const flags = [
    [flagOfOption("batch", "micro"), micro === run.settings.batch.micro ? undefined : micro],
    [flagOfOption("run", "activations"), activations],
    [flagOfOption("adapter", shrinksBy?.option ?? ""), size],
  ] as const;
  return {
    flags: Object.fromEntries(flags.flatMap(([flag, value]) => value === undefined ? [] : [[flag, value]])),
    neededBytes: neededBytes(hostPart(await changed(run, changes))),
  };
}

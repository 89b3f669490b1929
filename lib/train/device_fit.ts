// SPDX-License-Identifier: Apache-2.0
/** What would fit a device that had no room for a step: advice by the same formulas that foretell a run. */
import { NativeError, UserError } from "../core/errors.ts";
import { MEFT_OUT_OF_MEMORY } from "../native/symbols.ts";
import type { Device, DeviceFacts } from "../ops/kernels/device.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { largest } from "./fit.ts";
import { deviceActivationBytes, type MemorySettings } from "./memory.ts";
import type { Run } from "./plan.ts";

/** Settings that would do. */
export interface DeviceAdvice {
  readonly micro: number;
  readonly activations: MemorySettings["activations"];
}

/** Classes that hold parameters trained on the device, with what belongs to them. */
const TRAINED = ["parameters", "gradients", "optimizer"] as const;

/**
 * Runs what takes memory of the run's device. When that is out, everything that is not in use any more is given back, so
 * that work can go on with other settings.
 *
 * @throws {UserError} When memory is out: who asked for how much, who holds what, and what would fit
 */
export async function withinDevice<T>(run: Run, work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { kernels } = run.model;
    if (kernels.device === null || !isDeviceFull(error)) throw error;
    const advice = adviseDevice(run, kernels.device.facts());
    giveBack(kernels, kernels.device);
    throw new UserError(`The device is out of memory: ${error.message}; ${adviceText(run, advice)}`, {
      cause: error,
    });
  }
}

/** Not when it was the host that had no pinned memory to give. */
function isDeviceFull(error: unknown): error is NativeError {
  return error instanceof NativeError && error.code === MEFT_OUT_OF_MEMORY && error.op !== "pinned_reserve";
}

/** The mildest change with which a step fits: smaller micro-batches, then recomputed activations; null when none will do. */
export function adviseDevice(run: Run, facts: DeviceFacts): DeviceAdvice | null {
  const { model, adapterKind, rows, settings: { batch, activations } } = run;
  const room = activationRoom(run, facts);
  const fits = (advice: DeviceAdvice): boolean => {
    const settings = { batch: { ...batch, micro: advice.micro }, activations: advice.activations };
    return deviceActivationBytes(model, adapterKind, settings, rows.halves) <= room;
  };
  const micro = Math.min(batch.micro, batch.size);
  const ways = [
    { activations, most: micro - 1 },
    ...(activations === "recompute" ? [] : [{ activations: "recompute" as const, most: micro }]),
  ];
  for (const way of ways) {
    const rows = largest(way.most, (micro) => fits({ micro, activations: way.activations }));
    if (rows !== null) return { micro: rows, activations: way.activations };
  }
  return null;
}

/** Bytes that activations could have, were all of theirs given back: without what others hold or will yet need. */
function activationRoom({ memory, adapterKind }: Run, { freeBytes, ledger, refused }: DeviceFacts): number {
  const held = (name: string): number => ledger[name]?.bytes ?? 0;
  const wanted = (name: string): number => refused?.class === name ? refused.bytes : 0;
  const workspace = Math.max(ledger["workspace"]?.peakBytes ?? 0, held("workspace") + wanted("workspace"));
  const onDevice = adapterKind.kind !== "sparse"; // rows live on the host
  const trained = TRAINED.reduce(
    (sum, name) => sum + (onDevice ? Math.max(0, (memory.bytes[name] ?? 0) - held(name)) : 0),
    0,
  );
  const room = freeBytes + held("activations") + held("workspace") - workspace - trained;
  return room - wanted("cache") - wanted("weights");
}

/** @mutates kernels.arena, and their twin's */
function giveBack(kernels: Kernels, device: Device): void {
  for (const { arena } of [kernels, kernels.twin()]) arena.drop().forEach((block) => device.release(block));
}

function adviceText({ settings: { batch, activations } }: Run, advice: DeviceAdvice | null): string {
  if (advice === null) {
    return "no micro-batch fits beside that, with recomputed activations either: take a smaller model or adapter, or device cpu";
  }
  const flags = [
    ...(advice.micro === Math.min(batch.micro, batch.size) ? [] : [`--micro-batch-size ${advice.micro}`]),
    ...(advice.activations === activations ? [] : [`--activations ${advice.activations}`]),
  ];
  return `what would fit: ${flags.join(" ")}`;
}

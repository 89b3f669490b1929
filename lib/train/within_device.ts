// SPDX-License-Identifier: Apache-2.0
/** What takes memory of a run's device, and what is said when that is out. */
import { NativeError, UserError } from "../core/errors.ts";
import { MEFT_OUT_OF_MEMORY } from "../native/symbols.ts";
import type { Device } from "../ops/kernels/device.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import type { Forecast } from "./forecast.ts";
import type { Run } from "./plan.ts";

/** What is said without a forecast. */
const GENERAL_ADVICE = "take smaller micro-batches, recomputed activations, or device cpu";

/**
 * Runs what takes memory of the run's device. When that is out, everything that is not in use any more is given back, so
 * that work can go on with other settings.
 *
 * @throws {UserError} When memory is out: who asked for how much, who holds what, and what would fit
 */
export async function withinDevice<T>(
  run: Run,
  work: () => T | Promise<T>,
  forecast: Pick<Forecast, "adviseDevice"> | null = null,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { kernels } = run.model;
    if (kernels.device === null || !isDeviceFull(error)) throw error;
    const advice = await forecast?.adviseDevice(run, kernels.device.facts()) ?? GENERAL_ADVICE;
    giveBack(kernels, kernels.device);
    throw new UserError(`The device is out of memory: ${error.message}; ${advice}`, {
      cause: error,
    });
  }
}

/** Not when it was the host that had no pinned memory to give. */
function isDeviceFull(error: unknown): error is NativeError {
  return error instanceof NativeError && error.code === MEFT_OUT_OF_MEMORY && error.op !== "pinned_reserve";
}

/** @mutates kernels.arena, and their twin's */
function giveBack(kernels: Kernels, device: Device): void {
  for (const { arena } of [kernels, kernels.twin()]) arena.drop().forEach((block) => device.release(block));
}

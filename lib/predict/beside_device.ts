// SPDX-License-Identifier: Apache-2.0
/** What a run needs of the host when its model is on a device. */
import type { MemoryClass } from "../native/ledger.ts";
import type { DevicePrediction } from "./device_memory.ts";
import type { MemoryPrediction } from "./memory.ts";

/** Classes that stay in the host's memory. */
const HOST_CLASSES = ["parameters", "optimizer", "gradients"] as const;

/**
 * The prediction for the host alone: weights, activations and scratch are the device's, pinned memory comes to the host's.
 * Weights pass through the file cache on their way up, and may leave it.
 */
export function besideDevice(memory: MemoryPrediction, { host, pinned }: DevicePrediction): MemoryPrediction {
  const bytes: Partial<Record<MemoryClass, number>> = { weights: 0, pinned };
  const resident: Partial<Record<MemoryClass, number>> = { weights: 0, pinned };
  const start: Partial<Record<MemoryClass, number>> = { weights: 0, pinned };
  for (const name of HOST_CLASSES) {
    // Of what is trained whole, the device has all.
    bytes[name] = host[name] === 0 ? 0 : memory.bytes[name] ?? 0;
    resident[name] = host[name] === 0 ? 0 : memory.residentBytes[name] ?? 0;
    start[name] = host[name] === 0 ? 0 : memory.startBytes[name] ?? 0;
  }
  return {
    ...memory,
    bytes,
    residentBytes: resident,
    startBytes: start,
    logitsBytes: 0,
    totalBytes: Object.values(bytes).reduce((sum, value) => sum + value, 0),
  };
}

// SPDX-License-Identifier: Apache-2.0
/** What every family of native kernels closes over. */
import type { NativeContext } from "../../native/context.ts";
import type { Lane } from "../../native/lane.ts";
import type { HostTimes } from "../host_times.ts";

/** The lanes of one kernel set. */
export interface Lanes {
  /** Where the model runs: always inside the caller. */
  readonly model: NativeContext;
  /** Where host rows are read and updated: the same context, or one that works beside the model's. */
  readonly host: Lane;
  /** Of the CPU, inside the caller: for work on the host's own memory. The model's, unless that is a device's. */
  readonly inline: NativeContext;
  /** Whether an array lies on the model's device. */
  readonly onDevice: (array: ArrayBufferView) => boolean;
  /** MEFT_F32 or MEFT_BF16: type of matrix products. */
  readonly compute: number;
  /** What the host lane spent, added up. */
  readonly times: HostTimes;
}

/** Where a single pass over an array is made: where it lies. */
export function laneOf({ model, inline, onDevice }: Lanes, array: ArrayBufferView): NativeContext {
  return onDevice(array) ? model : inline;
}

// SPDX-License-Identifier: Apache-2.0
/** What the loop asks of whoever predicts runs: training works without it, and says and writes down less. */
import type { Dataset } from "../data/dataset.ts";
import type { MemoryClass } from "../native/ledger.ts";
import type { DeviceFacts } from "../native/device_memory.ts";
import type { Run } from "./plan.ts";

/** Bytes by class. */
type BytesByClass = Readonly<Partial<Record<MemoryClass, number>>>;

/** What a run folder keeps of a prediction. */
export interface PredictedMemory {
  /** Held at most, and resident after the first step. */
  readonly bytes: BytesByClass;
  readonly startBytes: BytesByClass;
  /** Elements of the adapter, and those of them that are trained. */
  readonly adapterParameters: number;
  readonly trainedParameters: number;
}

/** Predictions of a run: `FORECAST` gives them. */
export interface Forecast {
  /** The memory of a run on its data. */
  memory(run: Run, data: Dataset, evalData: Dataset | null): Promise<PredictedMemory>;
  /** What would fit a device that had no room, as the end of a sentence. */
  adviseDevice(run: Run, facts: DeviceFacts): Promise<string>;
}

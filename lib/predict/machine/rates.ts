// SPDX-License-Identifier: Apache-2.0
/**
 * What a machine does in a second, by name: of its CPU alone, which a dry run goes by whether or not there is a device; and of
 * a run's own lanes where the model's memory is not the host's, by which the placement of rows is chosen.
 */

/** Operations and bytes a second of the CPU, all its threads. */
export interface MachineRates {
  /** Products with the largest of the model's weights. */
  readonly linearForward: number;
  readonly linearBackward: number;
  /** Forward and backward over one sequence. */
  readonly attention: number;
  /** Forward and backward of the sparse adapter, in the work that a run's is counted in; null when the run has none. */
  readonly sparse: number | null;
  /** Bytes of a sum in memory. */
  readonly bandwidth: number;
  /** How long the measuring took. */
  readonly calibrationMs: number;
}

/** Rates of a run's lanes. */
export interface LaneRates {
  /** Copies from the device to the host, and back. */
  readonly downBytesPerSecond: number;
  readonly upBytesPerSecond: number;
  /** Matrix products of the model's lane. */
  readonly modelFlopsPerSecond: number;
  /** Router and key scores of the host lane, all its threads. */
  readonly scoreFlopsPerSecond: number;
  /** Products of the host lane that go pair by pair: value sums and all of backward. */
  readonly pairFlopsPerSecond: number;
  /** Memory traffic of the host: packing rows and adding gradients. */
  readonly hostBytesPerSecond: number;
  /** Seconds that two lanes need to meet. */
  readonly meetingSeconds: number;
}

// SPDX-License-Identifier: Apache-2.0
/**
 * The schedule of a pass over the layers on four lanes that each do one thing after another: the model's, the copies down,
 * the host's, the copies up. The order is that of `lib/models/engine/interleave.ts`; times are whatever unit the costs are in.
 */

/** What one layer of a whole micro-batch costs on each lane, in one direction of the pass. */
export interface LayerCosts {
  /** The model's lane: the attention sublayer, and the feed-forward sublayer. */
  readonly attention: number;
  readonly feedForward: number;
  /** Work of the model's lane before the feed-forward sublayer's backward: forward run again. */
  readonly recompute: number;
  /** What the host needs, its work, and what comes back. */
  readonly down: number;
  readonly host: number;
  readonly up: number;
  /** One meeting of two lanes. */
  readonly meeting: number;
}

/** When a pass is over, and how long each lane worked. */
export interface PassTimes {
  readonly total: number;
  readonly model: number;
  readonly down: number;
  readonly host: number;
  readonly up: number;
}

/** A pass under way. `ready[part]` is when the part has what the host sends back. */
interface Lanes {
  model: number;
  down: number;
  host: number;
  up: number;
  readonly ready: number[];
}

/** Times of the forward pass. @param halves 1 or 2 */
export function forwardTimes(costs: LayerCosts, layers: number, halves: number): PassTimes {
  const lanes = start(halves);
  for (let layer = 0; layer < layers; layer++) {
    for (let part = 0; part < halves; part++) {
      work(lanes, costs.attention / halves, part);
      send(lanes, costs, part);
      work(lanes, costs.feedForward / halves);
    }
  }
  return finish(costs, layers, Math.max(lanes.model, ...lanes.ready));
}

/** Times of the backward pass, staggered by half a layer when there are two parts. */
export function backwardTimes(costs: LayerCosts, layers: number, halves: number): PassTimes {
  const lanes = start(halves);
  const feedForward = (part: number): void => {
    work(lanes, costs.recompute / halves);
    send(lanes, costs, part); // dy is known before the feed-forward sublayer's own backward
    work(lanes, costs.feedForward / halves);
  };
  feedForward(0);
  for (let layer = 0; layer < layers; layer++) {
    if (halves > 1) feedForward(1);
    for (let part = 0; part < halves; part++) {
      work(lanes, costs.attention / halves, part);
      if (part === 0 && layer + 1 < layers) feedForward(0); // of the layer below
    }
  }
  return finish(costs, layers, lanes.model);
}

function start(halves: number): Lanes {
  return { model: 0, down: 0, host: 0, up: 0, ready: Array.from({ length: halves }, () => 0) };
}

/** Work of the model's lane; with a part, it waits for what the host sends that part. */
function work(lanes: Lanes, time: number, part?: number): void {
  lanes.model = Math.max(lanes.model, part === undefined ? 0 : lanes.ready[part] as number) + time;
}

/** What the host needs is there now: copy, host work, copy back. */
function send(lanes: Lanes, { down, host, up, meeting }: LayerCosts, part: number): void {
  const halves = lanes.ready.length;
  lanes.down = Math.max(lanes.down, lanes.model) + down / halves;
  lanes.host = Math.max(lanes.host, lanes.down + meeting) + host / halves;
  lanes.up = Math.max(lanes.up, lanes.host + meeting) + up / halves;
  lanes.ready[part] = lanes.up;
}

function finish(costs: LayerCosts, layers: number, total: number): PassTimes {
  return {
    total,
    model: layers * (costs.attention + costs.feedForward + costs.recompute),
    down: layers * costs.down,
    host: layers * costs.host,
    up: layers * costs.up,
  };
}

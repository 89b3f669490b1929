// SPDX-License-Identifier: Apache-2.0
/** The rates of a machine as a run will meet them, measured in a fraction of a second before it starts. */
import { lowestOf } from "../models/parts.ts";
import type { RowSelection } from "../adapters/adapter.ts";
import type { Model } from "../models/model.ts";
import { releasing } from "../activations/policy.ts";
import { account } from "../native/ledger.ts";
import { arenaActivation, arenaTensor } from "../ops/arena_tensor.ts";
import { createRowGradients, rowGradientBytes } from "../ops/row_gradients.ts";
import { sparseBackward, sparseForward, type SparseParams } from "../ops/sparse.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Clock } from "../train/lanes.ts";
import type { LaneRates } from "./cost_model.ts";

/** Sizes of what is measured. */
export interface RateSizes {
  /** Tokens of a micro-batch. */
  readonly tokens: number;
  readonly sparse: Pick<RowSelection, "experts" | "activeExperts" | "topK">;
}

/** Neurons of the layer that is measured: enough for its shape, few enough to be made quickly. */
const NEURONS_PER_EXPERT = 8;
const ROUNDS = 3;

/**
 * Measures copies, a matrix product of the model's first layer, and a layer of the sparse adapter on the host lane.
 *
 * @param clock Milliseconds; default `performance.now`
 */
export function measureRates(
  { kernels: k, config, parts }: Model,
  { tokens, sparse }: RateSizes,
  clock: Clock = () => performance.now(),
): Promise<LaneRates> {
  return releasing(k, async () => {
    const { hiddenSize } = config;
    const x = arenaTensor(k, [tokens, hiddenSize]);
    const host: Tensor = { shape: x.shape, data: k.hostFloats(tokens * hiddenSize) };
    k.randomNormal(host.data, 1, 0, 1);
    /** Seconds of the quickest of a few rounds. */
    const quickest = async (work: () => unknown): Promise<number> => {
      let best = Infinity;
      for (let round = 0; round < ROUNDS; round++) {
        const start = clock();
        await work();
        best = Math.min(best, clock() - start);
      }
      return Math.max(best, 1e-4) / 1000;
    };
    const down = async (): Promise<void> => {
      const arrival = k.link.down(x.data);
      await arrival.ready();
      arrival.release();
    };
    /** A copy of next to nothing: what is left is that the host learns of it. */
    const meet = async (): Promise<void> => {
      const arrival = k.link.down(x.data.subarray(0, 1));
      await arrival.ready();
      arrival.release();
    };
    const up = async (): Promise<void> => {
      await k.link.landing(x.data).ready();
      k.link.arrive(x.data);
      await down();
    };
    const downSeconds = await quickest(down);
    const upSeconds = Math.max(1e-7, await quickest(up) - downSeconds);
    const gate = lowestOf(parts, "ffn")?.gate.weight;
    const product = gate ? arenaActivation(k, [tokens, gate.rows]) : x;
    const modelSeconds = await quickest(async () => {
      if (gate) k.linearForward(product.data, x.data, gate, null, tokens, false);
      await down();
    });
    const { scoreSeconds, pairSeconds, pairs } = await hostSeconds(
      { tokens, hiddenSize },
      sparse,
      host,
      { kernels: k },
    );
    const bytes = x.data.byteLength;
    const flops = (count: number): number => 2 * tokens * hiddenSize * count;
    return {
      downBytesPerSecond: bytes / downSeconds,
      upBytesPerSecond: bytes / upSeconds,
      modelFlopsPerSecond: flops(gate?.rows ?? 1) / Math.max(1e-7, modelSeconds - downSeconds),
      scoreFlopsPerSecond: flops(sparse.experts + sparse.activeExperts * NEURONS_PER_EXPERT) / scoreSeconds,
      // Backward is four products a pair.
      pairFlopsPerSecond: 4 * 2 * Math.max(1, pairs) * hiddenSize / pairSeconds,
      hostBytesPerSecond: 2 * bytes / await quickest(() => host.data.slice()),
      meetingSeconds: await quickest(meet),
    };
  });
}

/** Seconds of routing and scoring, and of backward, in one layer on the host lane; and the pairs that fired. */
async function hostSeconds(
  { tokens, hiddenSize }: { readonly tokens: number; readonly hiddenSize: number },
  sparse: RateSizes["sparse"],
  h: Tensor,
  { kernels: k }: Pick<Model, "kernels">,
): Promise<{ scoreSeconds: number; pairSeconds: number; pairs: number }> {
  const neurons = sparse.experts * NEURONS_PER_EXPERT;
  const random = (count: number, stream: number) => {
    const values = k.floats(count);
    k.randomNormal(values, 1, stream, 0.02);
    return values;
  };
  const rows = (stream: number) => {
    const matrix = k.rowMatrix(neurons, hiddenSize);
    k.rowMatrixWrite(matrix, random(neurons * hiddenSize, stream), 0);
    return matrix;
  };
  const params: SparseParams = {
    gateWeight: random(sparse.experts * hiddenSize, 2),
    gateGrad: null,
    keys: rows(3),
    values: rows(4),
    gradients: createRowGradients(k, neurons, hiddenSize, { keys: true, slots: neurons }),
  };
  const settings = { ...sparse, gate: "raw", scope: "token" } as const;
  const y: Tensor = { shape: h.shape, data: k.hostFloats(tokens * hiddenSize) };
  const before = { ...k.hostTimes };
  let pairs = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const { residuals } = await sparseForward(k, params, h, settings, { into: y });
    pairs = residuals.pairCount;
    await sparseBackward(k, params, residuals, h, h, y);
  }
  const spent = (kind: keyof typeof before): number =>
    Math.max(1e-6, (k.hostTimes[kind] - before[kind]) / ROUNDS / 1000);
  account(k.ledger, "gradients", -rowGradientBytes(params.gradients));
  return { scoreSeconds: spent("routing") + spent("scoring"), pairSeconds: spent("backward"), pairs };
}

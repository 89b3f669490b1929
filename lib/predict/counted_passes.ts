// SPDX-License-Identifier: Apache-2.0
/** The passes of a run on kernels that count: the real engine, hooks and policies, on arrays without memory. */
import { attachAdapter, type Attachment } from "../adapters/attach.ts";
import type { UndoingChoice } from "../activations/policy.ts";
import type { ActivationPolicyName } from "../activations/registry.ts";
import type { Adapter, AdapterParams, RowPlacement } from "../adapters/adapter.ts";
import type { Batch, BatchSource } from "../data/batch.ts";
import { weightlessModel } from "../models/described.ts";
import type { PartPlace } from "../models/engine/interleave.ts";
import { evaluateLoss } from "../models/engine/pass.ts";
import type { Model } from "../models/model.ts";
import { type ClassificationHead, lastStack, type ModelParts, type PatchInput } from "../models/parts.ts";
import {
  type CountingKernels,
  countingKernels,
  type KernelTraits,
} from "../ops/counting/counting_kernels.ts";
import type { RowReach } from "../ops/counting/fired_rows.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { idleGradients } from "../train/idle_gradients.ts";
import { microBatchGradients } from "../train/micro_batch.ts";
import type { PassSize } from "./batch_sizes.ts";
import type { VirtualLanes } from "./virtual_lanes.ts";

/** What passes are counted of. */
export interface CountedSettings {
  readonly activations: ActivationPolicyName;
  readonly undoing?: UndoingChoice | undefined;
  /** Tokens of an optimizer step at most. */
  readonly tokensPerStep: number;
  /** Parts that a micro-batch is computed in. Default 1. */
  readonly halves?: 1 | 2;
  /** Where rows are computed with. Default: on the host. */
  readonly placement?: RowPlacement;
  /** How many rows fire, where they work on the device. Default: as many as can. */
  readonly reach?: RowReach;
  /** In whose place it is counted. Default: the model's kernels. */
  readonly kernels?: KernelTraits;
  /** Lanes that are given all work, so that they tell when it would be done. Default: nobody asks. */
  readonly lanes?: VirtualLanes;
}

/** A run whose passes are counted one after the other: arenas keep what they have grown to. */
export interface CountedRun {
  readonly kernels: CountingKernels;
  readonly params: AdapterParams;
  /**
   * Forward and backward of a micro-batch.
   *
   * @param options `first`: activations lie in idle gradients, as in a step's first micro-batch; `longest`: tokens of a
   *   sequence, all when absent
   */
  train(size: PassSize, options?: { readonly first?: boolean; readonly longest?: number }): Promise<void>;
  /** A pass for the loss alone. */
  evaluate(size: PassSize): Promise<void>;
}

/** Sets up a run to be counted. Nothing is allocated. */
export function countedRun(model: Model, adapter: Adapter, settings: CountedSettings): CountedRun {
  const { lanes, placement = { kind: "host" }, reach = "most", tokensPerStep: tokens } = settings;
  const kernels = countingKernels(settings.kernels ?? model.kernels, {
    lanes: lanes ?? null,
    rows: { reach, tokens },
  });
  const counted = weightlessModel(model, kernels);
  // What works with the adapter's kernels is the adapter's work, whatever it waits for in between.
  const params = adapter.create(kernels.adapter, counted, settings.tokensPerStep);
  const attach = (k: Kernels, place: PartPlace): Attachment => {
    const own = k === kernels ? kernels.adapter : kernels.twin().adapter;
    const training = { seed: 0, step: 1, ...place };
    const attached = attachAdapter(counted, params, own, { training, placement });
    return { ...attached, hooks: lanes?.watched(attached.hooks) ?? attached.hooks };
  };
  return {
    kernels,
    params,
    async train(size, { first = false, longest } = {}) {
      await microBatchGradients(
        kernels,
        batchOf(size, model.parts, longest),
        settings.halves ?? 1,
        attach,
        {
          activations: settings.activations,
          undoing: settings.undoing,
          lossScale: 1,
          idle: first ? idleGradients(kernels, params) : undefined,
        },
      );
    },
    async evaluate(size) {
      const { model, hooks } = attachAdapter(counted, params, kernels.adapter);
      await evaluateLoss(model, batchOf(size, model.parts), hooks);
    },
  };
}

/** A batch of these sizes, its targets spread evenly: what its tokens are does not matter. */
function batchOf(size: PassSize, parts: ModelParts, longest = size.tokens): Batch {
  const { head, stacks } = parts;
  if (head.kind !== "classification") {
    const batch = tokenBatch(size, longest);
    return stacks.length === 1 ? batch : { ...batch, source: sourceOf(size, batch.starts.length - 1) };
  }
  const { input } = lastStack(parts);
  return input.kind === "patches" ? pictureBatch(size, input) : sequenceBatch(size, head, longest);
}

/** What an encoder reads of each sequence, evenly: at least a token. */
function sourceOf({ tokens, sourceTokens = tokens }: PassSize, sequences: number): BatchSource {
  const count = Math.max(sourceTokens, sequences);
  const starts = Int32Array.from({ length: sequences + 1 }, (_, s) => Math.floor(s * count / sequences));
  return { ids: new Int32Array(count), positions: new Int32Array(count), starts };
}

/** As many whole pictures as have these tokens. */
function pictureBatch({ tokens }: PassSize, { positions: { rows: length } }: PatchInput): Batch {
  const pictures = Math.max(1, Math.ceil(tokens / length));
  return {
    ids: new Int32Array(pictures * length),
    pictures: { read() {} },
    positions: Int32Array.from({ length: pictures * length }, (_, t) => t % length),
    starts: Int32Array.from({ length: pictures + 1 }, (_, s) => s * length),
    targets: { kind: "classes", labels: new Int32Array(pictures) },
    targetCount: pictures,
  };
}

/** As many sequences as there are targets: as long as they may be where that is enough, else one of them and short ones. */
function sequenceBatch(
  { tokens, targets }: PassSize,
  { gives }: ClassificationHead,
  longest: number,
): Batch {
  const sequences = Math.max(Math.ceil(tokens / Math.max(1, longest)), Math.round(targets));
  const first = Math.min(longest, tokens - sequences + 1);
  const rest = Math.ceil((tokens - first) / Math.max(1, sequences - 1));
  const starts = Int32Array.from(
    { length: sequences + 1 },
    (_, s) => s === 0 ? 0 : Math.min(tokens, first + (s - 1) * rest),
  );
  return {
    ids: new Int32Array(tokens),
    positions: new Int32Array(tokens),
    starts,
    targets: gives === "classes"
      ? { kind: "classes", labels: new Int32Array(sequences) }
      : { kind: "values", values: new Float64Array(sequences) },
    targetCount: sequences,
  };
}

function tokenBatch({ tokens, targets }: PassSize, longest: number): Batch {
  const starts = Int32Array.from(
    { length: Math.ceil(tokens / Math.max(1, longest)) + 1 },
    (_, s) => Math.min(s * longest, tokens),
  );
  const reached = (t: number): number => Math.floor(t * targets / tokens);
  return {
    ids: new Int32Array(tokens),
    positions: Int32Array.from({ length: tokens }, (_, t) => t % longest),
    starts,
    targets: {
      kind: "tokens",
      ids: Int32Array.from({ length: tokens }, (_, t) => reached(t + 1) > reached(t) ? 0 : -1),
    },
    targetCount: targets,
  };
}

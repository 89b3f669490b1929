// SPDX-License-Identifier: Apache-2.0
/**
 * A micro-batch as two halves that take turns, so that one half's work on the host lane hides behind the other half's on the
 * model's. Order of issue, A and B the halves, l the layer:
 *
 *   forward    A attention(l), A feed-forward(l), B attention(l), B feed-forward(l), A attention(l+1), …
 *   backward   B feed-forward(l), A feed-forward(l), B attention(l), B feed-forward(l-1), A attention(l), A feed-forward(l-1), …
 *
 * A turn begins with what waits for the host (the hook's result of the layer before) and ends when the next hook is under
 * way and the frozen half beside it is issued. So the order is fixed, and with it every sum.
 */
import { releasing } from "../activations/policy.ts";
import { takeTurns, type YieldTurn } from "../core/baton.ts";
import type { Batch } from "../data/batch.ts";
import type { Kernels } from "../ops/kernels/kernels.ts";
import { checkBatch, type TokenBatch } from "./check_batch.ts";
import { type BatchLoss, batchStep, type GradientOptions, gradientPass } from "./decoder.ts";
import type { Hooks } from "./hooks.ts";
import type { Model } from "./model.ts";
import { createSharedKeys } from "./shared_keys.ts";
import type { StepContext } from "./step.ts";

/** A part of a micro-batch. */
export interface BatchPart {
  readonly batch: TokenBatch;
  /** Place of its first token among those of the whole. */
  readonly firstToken: number;
}

/** Two parts of a batch. */
export interface BatchHalves {
  readonly parts: readonly [BatchPart, BatchPart];
  /** Whether the second goes on with the sequence of the first, and so sees its keys. */
  readonly oneSequence: boolean;
}

/**
 * Two halves of a batch, as equal in tokens as whole sequences allow; a single sequence is cut in the middle.
 *
 * @returns null when there are not two tokens
 */
export function splitBatch(batch: Batch): BatchHalves | null {
  const tokens = batch.ids.length;
  if (tokens < 2) return null;
  const inner = [...batch.starts].filter((start) => start > 0 && start < tokens);
  const distance = (start: number): number => Math.abs(2 * start - tokens);
  const nearest = inner.reduce<number | null>(
    (best, start) => best === null || distance(start) < distance(best) ? start : best,
    null,
  );
  const cut = nearest ?? Math.ceil(tokens / 2);
  return {
    parts: [batchPart(batch, 0, cut), batchPart(batch, cut, tokens)],
    oneSequence: nearest === null,
  };
}

function batchPart({ ids, positions, starts, targets }: Batch, begin: number, end: number): BatchPart {
  const inside = [...starts].filter((start) => start > begin && start < end);
  return {
    firstToken: begin,
    batch: {
      ids: ids.subarray(begin, end),
      positions: positions.subarray(begin, end),
      starts: Int32Array.from([begin, ...inside, end], (start) => start - begin),
      targets: targets.subarray(begin, end),
    },
  };
}

/** A half as the adapter attaches to it: the place of its first token decides masks that change from step to step. */
export type AttachHalf = (k: Kernels, firstToken: number) => { readonly model: Model; readonly hooks: Hooks };

/**
 * `lossAndGradients` of a batch by halves. The result is that of the whole within rounding, and the same bits whatever the
 * timing of the lanes.
 *
 * @param attach Called for each half with kernels of its own
 * @mutates grads of the model's weights; what the hooks train
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function lossAndGradientsInHalves(
  model: Model,
  batch: Batch,
  { parts, oneSequence }: BatchHalves,
  attach: AttachHalf,
  options: Omit<GradientOptions, "tap">,
): Promise<BatchLoss> {
  const { kernels: k, config } = model;
  const twin = k.twin();
  checkBatch(batch, config.vocabSize);
  return releasing(k, () =>
    releasing(twin, async () => {
      const rope = model.rope.rowsFor(batch.positions, batch.starts);
      const [a, b] = parts;
      const tokens = a.batch.ids.length;
      const shared = oneSequence
        ? createSharedKeys(k, twin, config, tokens, options.activations === "recompute")
        : null;
      // Loans end layer by layer, and the halves are in different layers: what is idle is made ready at once.
      for (let layer = 0; layer < config.numHiddenLayers; layer++) options.idle?.beforeBackward(layer);
      const { idle: _, ...rest } = options;
      const half = (own: Kernels, part: BatchPart, sharing: Partial<StepContext>, leads: boolean) => {
        const attached = attach(own, part.firstToken);
        const ofHalf = { ...attached.model, kernels: own };
        return (yieldTurn: YieldTurn): Promise<BatchLoss> => {
          const rows = rope.rows.subarray(part.firstToken, part.firstToken + part.batch.ids.length);
          const step: StepContext = {
            ...batchStep(ofHalf, part.batch, attached.hooks, { tables: rope.tables, rows }),
            ...sharing,
            yieldTurn,
            waits: options.waits,
          };
          return gradientPass(step, ofHalf, part.batch, {
            ...rest,
            // Of the two the leading half is the last to leave a layer.
            afterLayer: leads ? options.afterLayer : undefined,
            afterLoss: leads ? yieldTurn : undefined,
          });
        };
      };
      const losses = await takeTurns(
        half(k, a, shared ? { extend: shared.publish, extendBackward: shared.collect } : {}, true),
        half(
          twin,
          b,
          shared ? { ...joinedSpans(tokens, b), extend: shared.join, extendBackward: shared.leave } : {},
          false,
        ),
      );
      const sum = (of: (loss: BatchLoss) => number): number => of(losses[0]) + of(losses[1]);
      return { lossSum: sum(({ lossSum }) => lossSum), targetCount: sum(({ targetCount }) => targetCount) };
    }));
}

/** The second half's queries see the keys of both. */
function joinedSpans(before: number, { batch }: BatchPart): Pick<StepContext, "spans"> {
  return { spans: Int32Array.of(0, batch.ids.length, 0, before + batch.ids.length) };
}

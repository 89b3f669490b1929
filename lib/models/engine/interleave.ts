// SPDX-License-Identifier: Apache-2.0
/**
 * A micro-batch as two interleaved parts, so that one part's work on the host lane hides behind the other part's on the
 * model's. Order of issue, A and B the parts, l the layer:
 *
 *   forward    A attention(l), A feed-forward(l), B attention(l), B feed-forward(l), A attention(l+1), …
 *   backward   B feed-forward(l), A feed-forward(l), B attention(l), B feed-forward(l-1), A attention(l), A feed-forward(l-1), …
 *
 * A turn begins with what waits for the host (the hook's result of the layer before) and ends when the next hook is under
 * way and the frozen work beside it is issued. So the order is fixed, and with it every sum.
 */
import { releasing } from "../../activations/policy.ts";
import { ACTIVATION_POLICIES } from "../../activations/registry.ts";
import { takeTurns, type YieldTurn } from "../../core/baton.ts";
import { type Batch, type BatchSource, countTargets } from "../../data/batch.ts";
import type { Kernels } from "../../ops/kernels/kernels.ts";
import type { Hooks } from "../hooks.ts";
import type { Model } from "../model.ts";
import { keyShapes, layersOf } from "../parts.ts";
import { ropeRows, type StepContext } from "../sublayers/context.ts";
import { checkedBatch, type TokenBatch } from "./check_batch.ts";
import { type BatchLoss, type GradientOptions, gradientPass } from "./gradient_pass.ts";
import { createSharedKeys } from "./shared_keys.ts";
import { batchSteps } from "./source.ts";

/** Where a part of a micro-batch begins: places of its first token, of the first that an encoder reads, and of its first target. */
export interface PartPlace {
  readonly firstToken: number;
  readonly firstSource: number;
  readonly firstTarget: number;
}

/** A part of a micro-batch. */
export interface BatchPart extends PartPlace {
  readonly batch: TokenBatch;
}

/** A batch in two parts. */
export interface SplitBatch {
  readonly parts: readonly [BatchPart, BatchPart];
  /** Whether the second goes on with the sequence of the first, and so sees its keys. */
  readonly oneSequence: boolean;
}

/**
 * A batch in two parts, as equal in tokens as whole sequences allow; a single sequence is cut in the middle, unless its target
 * is of it as a whole, or an encoder reads what stands before it.
 *
 * @returns null when there are not two tokens, or not two sequences to tell apart
 */
export function splitBatch(batch: Batch): SplitBatch | null {
  const { ids: { length: tokens }, starts, targets, source } = batch;
  if (tokens < 2) return null;
  const inner = [...starts.keys()].filter((s) => starts[s] as number > 0 && starts[s] as number < tokens);
  const distance = (s: number): number => Math.abs(2 * (starts[s] as number) - tokens);
  const nearest = inner.reduce<number | null>(
    (best, s) => best === null || distance(s) < distance(best) ? s : best,
    null,
  );
  if (nearest !== null) {
    const sequences = starts.length - 1;
    return {
      parts: [sequencesPart(batch, 0, nearest), sequencesPart(batch, nearest, sequences)],
      oneSequence: false,
    };
  }
  if (targets.kind !== "tokens" || source !== undefined) return null;
  const cut = Math.ceil(tokens / 2);
  return { parts: [tokensPart(batch, 0, cut), tokensPart(batch, cut, tokens)], oneSequence: true };
}

/** The sequences [first, end) of a batch. */
function sequencesPart(batch: Batch, first: number, end: number): BatchPart {
  const { starts, source, pictures } = batch;
  const tokens: Range = [starts[first] as number, starts[end] as number];
  return {
    firstToken: tokens[0],
    firstSource: (source?.starts ?? starts)[first] as number,
    firstTarget: countTargets(targetsPart(batch.targets, [0, tokens[0]], [0, first])),
    batch: {
      ...tokensOf(batch, tokens),
      starts: startsPart(starts, first, end),
      targets: targetsPart(batch.targets, tokens, [first, end]),
      ...(source && { source: sourcePart(source, first, end) }),
      ...(pictures && {
        pictures: { read: (sequence, rows) => pictures.read(first + sequence, rows) },
      }),
    },
  };
}

/** The tokens [begin, end) of the only sequence. */
function tokensPart(batch: Batch, begin: number, end: number): BatchPart {
  return {
    firstToken: begin,
    firstSource: begin,
    firstTarget: countTargets(targetsPart(batch.targets, [0, begin], [0, 0])),
    batch: {
      ...tokensOf(batch, [begin, end]),
      starts: Int32Array.of(0, end - begin),
      targets: targetsPart(batch.targets, [begin, end], [0, 1]),
    },
  };
}

type Range = readonly [begin: number, end: number];

function tokensOf(
  { ids, positions, types }: Batch,
  range: Range,
): Pick<Batch, "ids" | "positions" | "types"> {
  return {
    ids: ids.subarray(...range),
    positions: positions.subarray(...range),
    ...(types && { types: types.subarray(...range) }),
  };
}

/** Starts of the sequences [first, end), from 0. */
function startsPart(starts: Int32Array, first: number, end: number): Int32Array {
  const begin = starts[first] as number;
  return starts.slice(first, end + 1).map((start) => start - begin);
}

function sourcePart({ ids, positions, starts }: BatchSource, first: number, end: number): BatchSource {
  const range: Range = [starts[first] as number, starts[end] as number];
  return {
    ids: ids.subarray(...range),
    positions: positions.subarray(...range),
    starts: startsPart(starts, first, end),
  };
}

/** Those of a range of tokens that is one of whole sequences, unless each token has its own. */
function targetsPart(targets: Batch["targets"], tokens: Range, sequences: Range): Batch["targets"] {
  if (targets.kind === "tokens") return { ...targets, ids: targets.ids.subarray(...tokens) };
  if (targets.kind === "classes") return { ...targets, labels: targets.labels.subarray(...sequences) };
  return { ...targets, values: targets.values.subarray(...sequences) };
}

/** How the adapter attaches to a part: where that begins decides masks that change from step to step. */
export type AttachPart = (k: Kernels, place: PartPlace) => { readonly model: Model; readonly hooks: Hooks };

/**
 * `lossAndGradients` of a batch in two interleaved parts. The result is that of the whole within rounding, and the same bits
 * whatever the timing of the lanes.
 *
 * @param attach Called for each part with kernels of its own
 * @mutates grads of the model's weights; what the hooks train
 * @throws {RangeError} When the batch contradicts itself or the model
 */
export function interleavedLossAndGradients(
  model: Model,
  batch: Batch,
  { parts: [a, b], oneSequence }: SplitBatch,
  attach: AttachPart,
  options: Omit<GradientOptions, "tap">,
): Promise<BatchLoss> {
  const { kernels: k } = model;
  const twin = k.twin();
  checkedBatch(model, batch);
  return releasing(k, () =>
    releasing(twin, async () => {
      const rope = ropeRows(model.rope, batch.positions, batch.starts);
      const [first, second] = sharing(model, twin, a, b, oneSequence, options);
      // Loans end layer by layer, and the parts are in different layers: what is idle is made ready at once.
      layersOf(model.parts).forEach((_, layer) => options.idle?.beforeBackward(layer));
      const { idle: _, ...rest } = options;
      const running = (own: Kernels, part: BatchPart, shared: Partial<StepContext>, leads: boolean) => {
        const attached = attach(own, part);
        const ofPart = { ...attached.model, kernels: own };
        return (yieldTurn: YieldTurn): Promise<BatchLoss> => {
          const end = part.firstToken + part.batch.ids.length;
          const own = [...rope].map(([name, { tables, rows }]) =>
            [name, { tables, rows: rows.subarray(part.firstToken, end) }] as const
          );
          const whole = checkedBatch(ofPart, part.batch);
          const steps = batchSteps(ofPart, whole, attached.hooks, {
            ...shared,
            rope: new Map(own),
            yieldTurn,
            waits: options.waits,
          });
          return gradientPass(steps, ofPart.parts, whole, {
            ...rest,
            // Of the two the leading part is the last to leave a layer.
            afterLayer: leads ? options.afterLayer : undefined,
            afterLoss: leads ? yieldTurn : undefined,
          });
        };
      };
      const losses = await takeTurns(running(k, a, first, true), running(twin, b, second, false));
      const sum = (of: (loss: BatchLoss) => number): number => of(losses[0]) + of(losses[1]);
      return { lossSum: sum(({ lossSum }) => lossSum), targetCount: sum(({ targetCount }) => targetCount) };
    }));
}

/** What is otherwise in the steps of both parts where the second goes on with the sequence of the first. */
function sharing(
  { kernels: k, parts }: Model,
  twin: Kernels,
  a: BatchPart,
  b: BatchPart,
  oneSequence: boolean,
  { activations }: Pick<GradientOptions, "activations">,
): readonly [Partial<StepContext>, Partial<StepContext>] {
  if (!oneSequence) return [{}, {}];
  const [before, tokens] = [a.batch.ids.length, b.batch.ids.length];
  const shared = createSharedKeys(k, twin, keyShapes(parts, before), ACTIVATION_POLICIES[activations].reruns);
  return [
    { extend: shared.publish, extendBackward: shared.collect },
    {
      // The second part's queries see the keys of both.
      spans: Int32Array.of(0, tokens, 0, before + tokens),
      extend: shared.join,
      extendBackward: shared.leave,
    },
  ];
}

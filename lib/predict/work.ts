// SPDX-License-Identifier: Apache-2.0
/** The arithmetic of one optimizer step: that of a counted micro-batch, for as many tokens, targets and pairs as a step has. */
import type { Work } from "../ops/counting/counts.ts";
import type { PassSize, StepLoad } from "./batch_sizes.ts";
import { countedRun } from "./counted_passes.ts";
import { rememberedBy } from "../train/run_options.ts";
import type { Decided } from "./memory.ts";

/** Operations of a step: a multiplication and an addition count as two. */
export interface StepWork {
  /** Products with the model's weights, forward (again where activations are made again) and backward. */
  readonly linearForward: number;
  readonly linearBackward: number;
  readonly attention: number;
  /** Of the adapter: routing, scoring, values and their gradients, or its dense products. */
  readonly adapter: number;
  /** Bytes that norms, activations and sums of the residual stream read and write. */
  readonly streamBytes: number;
  /** Bytes that clipping and the update read and write. */
  readonly updateBytes: number;
}

/** Parameter bytes that one update of an element moves: weight, gradient and two moments read, three written, and the norm. */
const UPDATE_BYTES = 32;

/** Counts the work of a run's step. */
export async function stepWork(run: Decided, load: StepLoad): Promise<StepWork> {
  const { batch } = run.settings;
  // A micro-batch of sequences as long as a step's are on average.
  const longest = Math.max(1, Math.round(2 * load.pairs / Math.max(1, load.tokens) - 1));
  const tokens = Math.max(1, Math.min(batch.micro * batch.seqLen, Math.round(load.tokens)));
  const read = load.sourceTokens === undefined
    ? {}
    : { sourceTokens: Math.round(tokens * load.sourceTokens / Math.max(1, load.tokens)) };
  const bare = await countPass(run, { tokens, targets: 0, ...read }, longest);
  const full = await countPass(run, { tokens, targets: tokens, ...read }, longest);
  const each = (kind: keyof Work): number =>
    bare.model[kind] / tokens * load.tokens + (full.model[kind] - bare.model[kind]) / tokens * load.targets;
  const ofAdapter = bare.adapter.forward + bare.adapter.backward;
  return {
    linearForward: each("forward"),
    linearBackward: each("backward"),
    attention: bare.model.attention / pairsOf(tokens, longest) * load.pairs,
    adapter: ofAdapter / tokens * load.tokens,
    streamBytes: each("streamBytes") + bare.adapter.streamBytes / tokens * load.tokens,
    updateBytes: UPDATE_BYTES * touchedElements(run, load.tokens),
  };
}

/** One micro-batch, forward and back. */
async function countPass(
  { model, adapterKind, settings }: Decided,
  size: PassSize,
  longest: number,
) {
  const tokensPerStep = settings.batch.size * settings.batch.seqLen;
  const counted = countedRun(model, adapterKind, { ...rememberedBy(settings), tokensPerStep });
  await counted.train(size, { longest });
  return counted.kernels.counts.work;
}

/** Pairs of a query and a key that it sees, in sequences of `longest` tokens, the last one shorter. */
function pairsOf(tokens: number, longest: number): number {
  const [whole, rest] = [Math.floor(tokens / longest), tokens % longest];
  return (whole * longest * (longest + 1) + rest * (rest + 1)) / 2;
}

/** Elements that a step moves. */
function touchedElements({ adapterKind, model, optimizer }: Decided, tokens: number): number {
  const { parameters, rows } = adapterKind.sizes(model, tokens);
  const dense = optimizer.config["mode"] === "dense";
  return parameters.filter(({ trained }) => trained).reduce(
    (sum, parameter) =>
      sum + parameter.count * (parameter.rows === null || dense ? 1 : rows?.touchedShare(tokens) ?? 1),
    0,
  );
}

/** All operations of a step. */
export function totalOperations({ linearForward, linearBackward, attention, adapter }: StepWork): number {
  return linearForward + linearBackward + attention + adapter;
}

// SPDX-License-Identifier: Apache-2.0
/**
 * One training step of ours, timed, in a process of its own: the protocol of `scripts/peers/bench_torch.py`.
 *
 *     our_step.ts CASE.json
 *
 * Prints a JSON line when ready, then for every line on standard input runs one step and prints its time and the parts
 * of it; for the line "peak" it prints the most memory this process has held.
 */
import { cpuUsage } from "node:process";
import { peakHostBytes } from "../../lib/native/host_memory.ts";
import { nextIntegerBelow, randomStream } from "../../lib/core/rng.ts";
import type { StepData } from "../../lib/data/batches.ts";
import { lossAndGradients } from "../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../lib/models/load.ts";
import type { Model } from "../../lib/models/model.ts";
import { adamw } from "../../lib/optim/registry.ts";
import { constant } from "../../lib/optim/schedule.ts";
import { nativeKernels } from "../../lib/ops/native/native_kernels.ts";
import { plan } from "../../lib/train/plan.ts";
import { init } from "../../lib/train/state.ts";
import { trainStep } from "../../lib/train/step.ts";
import { methodOf, type StepCase } from "./cases.ts";
import { inputLines } from "./line_process.ts";
import { type PartTimes, splitSparse, timedKernels } from "./timed_kernels.ts";
import { type Batch, tokenTargets } from "../../lib/data/batch.ts";
import type { StepTime } from "./step_process.ts";

/** Runs a step; returns its loss. */
type RunStep = () => Promise<Omit<StepTime, "ms" | "cpuMs" | "parts">>;

/** Random tokens; of a language model, every token but the last of a sequence has the next as its target. */
function stepData(one: StepCase, { vocabSize: vocabulary, head }: Model["config"]): StepData {
  const { sequences, seqLen } = one;
  const tokens = sequences * seqLen;
  const random = randomStream(one.seed, 0);
  const ids = Int32Array.from({ length: tokens }, () => nextIntegerBelow(random, vocabulary));
  const positions = Int32Array.from({ length: tokens }, (_, t) => t % seqLen);
  const isLabelled = head.kind === "classification";
  const targets: Batch["targets"] = isLabelled
    ? { kind: "classes", labels: new Int32Array(sequences) }
    : tokenTargets(ids.map((_, t) => (t + 1) % seqLen === 0 ? -1 : ids[t + 1] as number));
  const starts = Int32Array.from({ length: sequences + 1 }, (_, s) => s * seqLen);
  const targetCount = isLabelled ? sequences : sequences * (seqLen - 1);
  return {
    microBatches: [{ batch: { ids, positions, starts, targets, targetCount }, examples: new Int32Array(0) }],
    targetCount,
    tokenCount: tokens,
    next: { epoch: 0, row: 0 },
  };
}

function prepare(one: StepCase, model: Model): { run: RunStep; trained: number } {
  const data = stepData(one, model.config);
  const method = methodOf(one);
  const [micro] = data.microBatches;
  if (method === null) {
    if (micro === undefined) throw new RangeError("A step has one micro-batch here");
    const options = { activations: "store", lossScale: 1 / data.targetCount, tap: () => {} } as const;
    const run: RunStep = async () => {
      const { lossSum } = await lossAndGradients(model, micro.batch, {}, options);
      return { loss: lossSum / data.targetCount, activeNeurons: null };
    };
    return { run, trained: 0 };
  }
  const training = plan(model, {
    method,
    optimizer: adamw({ schedule: constant(), weightDecay: 0 }),
    batch: { size: one.sequences, micro: one.sequences, seqLen: one.seqLen },
    steps: 1_000_000,
    ...(one.activations && { activations: one.activations }),
    ...(one.anchorEvery && { anchorEvery: one.anchorEvery }),
    seed: one.seed,
  });
  let state = init(training);
  const run: RunStep = async () => {
    const [next, { loss, activeNeurons, activationBytes }] = await trainStep(training, state, data);
    state = next;
    return { loss, activeNeurons, activationBytes };
  };
  const { parameters } = training.adapterKind.sizes(model, 0);
  return { run, trained: parameters.reduce((sum, { trained, count }) => sum + (trained ? count : 0), 0) };
}

const one: StepCase = JSON.parse(await Deno.readTextFile(Deno.args[0] ?? ""));
const times: PartTimes = new Map();
using kernels = nativeKernels({ threads: one.threads, compute: one.dtype });
using model = openCheckpoint(one.model, timedKernels(kernels, times));
const { run, trained } = prepare(one, model);
const { target, threads } = kernels.info();
console.log(JSON.stringify({ version: `${target}, ${threads} threads`, trained }));
for await (const line of inputLines()) {
  if (line === "peak") {
    console.log(JSON.stringify({ bytes: peakHostBytes() }));
    continue;
  }
  times.clear();
  const before = kernels.info().partMs;
  const [start, cpuBefore] = [performance.now(), cpuUsage()];
  const did = await run();
  const ms = performance.now() - start;
  const { user, system } = cpuUsage(cpuBefore);
  splitSparse(times, before, kernels.info().partMs);
  const known = [...times.values()].reduce((sum, part) => sum + part, 0);
  console.log(
    JSON.stringify({
      ms,
      cpuMs: (user + system) / 1000,
      ...did,
      parts: { ...Object.fromEntries(times), waiting: 0, other: ms - known },
    }),
  );
}

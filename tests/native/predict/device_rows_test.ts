// SPDX-License-Identifier: Apache-2.0
/**
 * What rows take of a device that are computed with there, and of the host beside it, counted against what they then take: byte
 * for byte where all rows fire, and else no less.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { sparse } from "../../../lib/methods/methods.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { type CudaKernels, cudaKernels } from "../../../lib/ops/native/cuda_kernels.ts";
import { countedRun } from "../../../lib/predict/counted_passes.ts";
import { predictDevice } from "../../../lib/predict/device_memory.ts";
import { readFloatsInto } from "../../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { numel } from "../../../lib/tensor/tensor.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { batches } from "../../../lib/train/batches.ts";
import { plan, type RunOptions, tokensPerStep } from "../../../lib/train/plan.ts";
import { init, releaseState } from "../../../lib/train/state.ts";
import { trainStep } from "../../../lib/train/step.ts";
import { openTestDevice } from "../../cuda_library.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { randomTokens } from "../../fixtures/memory_cases.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { SMALL_SPARSE, smallOptions } from "../../unit/train/small_run.ts";

const { backend } = openTestDevice();
/** Small, so that what activations need shows in what they reserve. */
const BLOCK_BYTES = 1 << 12;
const [SEQ_LEN, STEPS, ROWS, VOCABULARY, HIDDEN] = [12, 2, 4, 61, 24];
const SIZE = { tokens: 2 * SEQ_LEN, targets: 2 * (SEQ_LEN - 1) };

/** Every token may use all neurons. */
const ALL = { neurons: 12, experts: 3, activeExperts: 3, topK: 12, gate: "sigmoid" } as const;

/** A model whose first hidden coordinate is large and positive, whatever the tokens: keys that look there always fire. */
async function withLoudModel(use: (dir: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const { dir } = modelFixture("llama3_tied");
    await Deno.copyFile(join(dir, "config.json"), join(folder, "config.json"));
    const tensors = [...readSafetensorsHeader(join(dir, "model.safetensors")).tensors.values()].map(
      (entry) => {
        const data = new Float32Array(numel(entry.shape));
        readFloatsInto(data, entry);
        const width = entry.shape.at(-1) ?? 1;
        if (entry.name.includes("embed_tokens")) data.forEach((_, i) => i % width === 0 && (data[i] = 8));
        if (entry.name.includes("norm")) data.fill(1);
        if (/(o|down)_proj.weight/.test(entry.name)) data.fill(0, 0, width);
        return { name: entry.name, dtype: "f32" as const, shape: entry.shape, data };
      },
    );
    await writeSafetensors(join(folder, "model.safetensors"), tensors);
    await use(folder);
  });
}

/** Bytes of each class, and over both links. */
interface Taken {
  readonly activations: number;
  readonly cache: number;
  readonly pinned: number;
  readonly up: readonly number[];
  readonly down: readonly number[];
}

/** What steps take. @param loud Whether all keys look at the first coordinate */
async function taken(k: CudaKernels, dir: string, options: RunOptions, loud: boolean): Promise<Taken> {
  using model = openCheckpoint(dir, k);
  const run = plan(model, smallOptions(options));
  let state = init(run);
  for (const parameter of loud ? state.params.parameters : []) {
    if (parameter.kind !== "rows" || !parameter.name.endsWith("keys")) continue;
    const { rows, cols } = parameter.matrix;
    k.rowMatrixWrite(
      parameter.matrix,
      new Float32Array(rows * cols).map((_, i) => Number(i % cols === 0)),
      0,
    );
  }
  const data = randomTokens(Array(STEPS * ROWS).fill(SEQ_LEN), VOCABULARY, SEQ_LEN);
  for (const step of batches(run, data)) [state] = await trainStep(run, state, step);
  const { ledger } = k.device.facts();
  const links = [k.link.bytes, k.twin().link.bytes];
  const result = {
    activations: ledger["activations"]?.bytes ?? 0,
    cache: ledger["cache"]?.bytes ?? 0,
    pinned: ledger["pinned"]?.bytes ?? 0,
    up: links.map(({ up }) => up),
    down: links.map(({ down }) => down),
  };
  releaseState(run, state);
  return result;
}

/** What is counted of the same. */
async function counted(k: CudaKernels, dir: string, options: RunOptions): Promise<Taken> {
  using model = openCheckpoint(dir, k);
  const run = plan(model, smallOptions(options));
  const { rows: { halves, cachedRows }, settings } = run;
  const { kernels, params, train } = countedRun(model, run.adapterKind, {
    activations: settings.activations,
    halves,
    tokensPerStep: tokensPerStep(settings),
    placement: { kind: "device", cachedRows },
  });
  await train(SIZE, { first: true, longest: SEQ_LEN });
  await train(SIZE, { longest: SEQ_LEN });
  await params.collectGradients?.();
  const held = (name: "activations" | "cache") => kernels.device?.ledger.held.get(name) ?? 0;
  const links = [kernels.link.bytes, kernels.twin().link.bytes];
  return {
    activations: held("activations"),
    cache: held("cache"),
    pinned: (kernels.ledger.held.get("pinned") ?? 0) +
      [kernels, kernels.twin()].reduce(
        (sum, { hostArena }) => sum + Math.ceil(hostArena.bytes / BLOCK_BYTES) * BLOCK_BYTES,
        0,
      ),
    up: links.map(({ up }) => STEPS * up),
    down: links.map(({ down }) => STEPS * down),
  };
}

/**
 * What one half's rows travel by while the other half's h is still being read by the host, which hangs on how quick that is:
 * one more place for as many rows as lose their slots at once.
 */
function halvesMayTake(
  { halves, cachedRows }: { readonly halves: 1 | 2; readonly cachedRows: number },
): number {
  return halves === 2 ? cachedRows * HIDDEN * 4 : 0;
}

const WAYS = (["store", "recompute"] as const).flatMap((activations) =>
  ([1, 2] as const).map((halves) => ({ activations, halves }))
);
const BATCH = { size: ROWS, micro: 2, seqLen: SEQ_LEN };

for (const cachedRows of [12, 5, 1]) {
  Deno.test(`countedRun() takes what rows that all fire take of ${backend}, with room for ${cachedRows} of 12`, () =>
    withLoudModel(async (dir) => {
      for (const keys of ["trained", "frozen"] as const) {
        for (const way of WAYS) {
          const method = sparse({ ...ALL, keys });
          const options = {
            ...way,
            method,
            batch: BATCH,
            steps: STEPS,
            placement: "device",
            cachedRows,
          } as const;
          using k = cudaKernels({ compute: "bf16", blockBytes: BLOCK_BYTES, host: { threads: 1 } });
          const expected = await counted(k, dir, options);
          const real = await taken(k, dir, options, true);
          const title = JSON.stringify({ keys, ...way });
          assert.deepEqual({ ...real, pinned: 0 }, { ...expected, pinned: 0 }, title);
          const over = real.pinned - expected.pinned;
          assert.ok(over >= 0 && over <= halvesMayTake(options), `${title}: ${over} bytes of pinned memory`);
        }
      }
    }));

  Deno.test(`countedRun() takes no less than rows of which some fire take of ${backend}, with room for ${cachedRows}`, async () => {
    const { dir } = modelFixture("llama3_tied");
    for (const way of WAYS) {
      const method = sparse(SMALL_SPARSE);
      const options = {
        ...way,
        method,
        batch: BATCH,
        steps: STEPS,
        placement: "device",
        cachedRows,
      } as const;
      using k = cudaKernels({ compute: "f32", blockBytes: BLOCK_BYTES, host: { threads: 1 } });
      const most = await counted(k, dir, options);
      const real = await taken(k, dir, options, false);
      assert.equal(real.cache, most.cache);
      const title = JSON.stringify(way);
      assert.ok(real.activations <= most.activations, `${title}: ${real.activations} of ${most.activations}`);
      const pinned = most.pinned + halvesMayTake(options);
      assert.ok(real.pinned <= pinned, `${title}: ${real.pinned} of ${pinned} bytes of pinned memory`);
      for (const way of ["up", "down"] as const) {
        real[way].forEach((bytes, i) =>
          assert.ok(bytes <= most[way][i]!, `${way} ${bytes} of ${most[way][i]}`)
        );
      }
    }
  });
}

Deno.test(`predictDevice() says what rows that all fire take of ${backend} and move`, () =>
  withLoudModel(async (dir) => {
    for (const cachedRows of [12, 5]) {
      const options = {
        batch: BATCH,
        steps: STEPS,
        method: sparse(ALL),
        placement: "device",
        cachedRows,
      } as const;
      using k = cudaKernels({ compute: "bf16", blockBytes: BLOCK_BYTES, host: { threads: 1 } });
      using model = openCheckpoint(dir, k);
      const { device, pcie } = await predictDevice(plan(model, smallOptions(options)), "device");
      const { cache, up, down } = await taken(k, dir, options, true);
      assert.equal(device.adapter, cache);
      assert.deepEqual([STEPS * pcie.up, STEPS * pcie.down], [up[0], down[0]]);
    }
  }));

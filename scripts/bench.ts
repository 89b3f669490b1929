// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task bench`: how fast, against what the machine can do and against PyTorch on the same work.
 *
 *     deno task bench [kernels] [step] [peers] [experts] [activations] [gpu] [--quick] [--rounds N] [--threads N] [--seed N] [--only NAME]...
 *                     [--minutes N] [--no-compile]
 *
 * Prints tables and writes bench/NAME.json of each part, with a chart beside it.
 * Peers need PyTorch, transformers and PEFT in python3, or in the interpreter that MEFT_PYTHON names. The others have
 * to be asked for: `experts` puts mixtures of experts beside the dense models of their active sizes; `activations` tells what
 * steps remember by depth, length and rows, and what remembering less costs; `gpu` measures a 7B model
 * on a CUDA device; with --quick, a miniature, emulated where there is none.
 */
import { parseArgs } from "node:util";
import { UserError } from "../mod.ts";
import { benchActivations } from "./bench/activations/activations.ts";
import { activationTable, productTable, savingTable, timedTable } from "./bench/activations/report.ts";
import { drawActivations, DRAWN_WAYS } from "./bench/activations/picture.ts";
import { barChart } from "./bench/chart.ts";
import { benchGpu } from "./bench/gpu/gpu.ts";
import { benchExperts } from "./bench/experts.ts";
import { boundTable, cellTable, gpuBars, rivalTable, verdictTable } from "./bench/gpu/gpu_report.ts";
import { benchKernels, frozenLayer, measureLimits } from "./bench/kernels.ts";
import { formatSizes } from "./bench/checkpoint.ts";
import { formatMachine, lookAtMachine, type Machine } from "./bench/machine.ts";
import { compareParts, hasPeers } from "./bench/part_rounds.ts";
import { benchPeers } from "./bench/peers.ts";
import { barRatios } from "./bench/ratios.ts";
import * as report from "./bench/report.ts";
import { formatSummary } from "./bench/statistics.ts";
import { benchSteps, growths } from "./bench/step.ts";
import { kernelRows, layerRow } from "./bench/target_rows.ts";
import { buildTarget, ensureBuilt } from "./build.ts";
import { requirePackages } from "./parity/python.ts";
import { helpIfAsked } from "./help.ts";

const PART_NAMES = ["kernels", "step", "peers", "experts", "activations", "gpu"];
/** Those that run when none is named. */
const CPU_PARTS = ["kernels", "step", "peers"];
/** Those that put kernels beside the machine's limits. */
const LIMITED_PARTS = ["kernels", "peers", "gpu"];

/** What the flags say. */
interface Options {
  readonly parts: readonly string[];
  readonly quick: boolean;
  readonly rounds: number;
  readonly threads: number;
  readonly seed: number;
  readonly only: readonly string[];
  readonly compile: boolean;
  /** Of the GPU's part; null for as long as it takes. */
  readonly minutes: number | null;
  /** For checkpoints; removed at the end. */
  readonly folder: string;
}

/** @throws {UserError} Naming the flag that has no meaning */
function readOptions(folder: string): Options {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    allowNegative: true,
    options: {
      quick: { type: "boolean", default: false },
      rounds: { type: "string" },
      threads: { type: "string" },
      seed: { type: "string" },
      only: { type: "string", multiple: true, default: [] },
      compile: { type: "boolean" },
      minutes: { type: "string" },
    },
  });
  const unknown = positionals.filter((part) => !PART_NAMES.includes(part));
  if (unknown.length > 0) {
    throw new UserError(`There is no part ${unknown.join(", ")}: ${PART_NAMES.join(", ")}`);
  }
  const count = (name: "rounds" | "threads" | "seed" | "minutes", otherwise: number): number => {
    const value = Number(values[name] ?? otherwise);
    if (Number.isSafeInteger(value) && value >= 1) return value;
    throw new UserError(`--${name} is ${values[name]}, expected a whole number of at least 1`);
  };
  return {
    parts: positionals.length > 0 ? positionals : CPU_PARTS,
    quick: values.quick,
    rounds: count("rounds", values.quick ? 3 : 7),
    threads: count("threads", navigator.hardwareConcurrency),
    seed: count("seed", 1),
    only: values.only,
    compile: values.compile ?? !values.quick,
    minutes: values.minutes === undefined ? null : count("minutes", 0),
    folder,
  };
}

async function kernelsPart(options: Options, machine: Machine): Promise<void> {
  await buildTarget("bench_parts");
  const results = await benchKernels({
    ...options,
    onResult: ({ name, shape }) => progress(`${name} ${shape}`),
  });
  const comparisons = await compareParts({
    ...options,
    rounds: Math.min(5, options.rounds),
    peers: hasPeers(),
    onResult: ({ kernel, size, yardstick, missing }) =>
      progress(`${kernel} ${size} beside ${yardstick}${missing === null ? "" : `: ${missing}`}`),
  });
  const layer = frozenLayer({ ...options, rounds: 3 });
  const targets = [...kernelRows(results), ...comparisons, ...layerRow(comparisons, layer)];
  const title = "Kernels: share of the machine's limit";
  await report.writeResults(
    "kernels",
    machine,
    { targets, kernels: results, comparisons },
    barChart(title, "%", report.kernelBars(results)),
  );
  console.log(`\n${report.kernelTable(results)}\n\n${report.targetTable(targets)}`);
}

async function stepPart(options: Options, machine: Machine): Promise<void> {
  const results = await benchSteps({
    ...options,
    onCell: ({ series, name }) => progress(`${series} ${name}`),
  });
  const title = "Training steps by part";
  const growth = growths(results);
  await report.writeResults(
    "step",
    machine,
    { cells: results, growth },
    barChart(title, "ms", report.stepBars(results)),
  );
  console.log(`\n${report.stepTable(results)}\n\n${report.partsTable(results)}`);
  if (growth.length > 0) console.log(`\n${report.growthTable(growth)}`);
}

async function peersPart(options: Options, machine: Machine): Promise<void> {
  await requirePackages();
  const peers = await benchPeers({
    ...options,
    onPairing: ({ name, dtype, ours, torch, speedRatio }) => {
      const [us, them] = [ours, torch].map(({ stepMs }) => stepMs.median.toFixed(0));
      progress(`${name} ${dtype}: ${us} ms, PyTorch ${them} ms (${speedRatio.toFixed(2)} times faster)`);
    },
  });
  // Two of the bar's numbers are of kernels.
  const kernels = await benchKernels({ ...options, quick: true, onResult: () => {} });
  const ratios = barRatios(peers.pairings, kernels, peers.sparseOverFrozen);
  const title = `The same training step, ${peers.tokens} tokens: ${peers.model}`;
  const bars = report.peerBars(peers.pairings);
  await report.writeResults("peers", machine, { ratios, ...peers, kernels }, barChart(title, "ms", bars));
  console.log(`\n${title}\n${report.peerTable(peers.pairings)}\n\n${report.ratioTable(ratios)}`);
}

async function expertsPart(options: Options, machine: Machine): Promise<void> {
  const bench = await benchExperts({
    ...options,
    onResult: ({ name, dtype, ratio }) => progress(`${name} ${dtype}: ${formatSummary(ratio)} times`),
  });
  const title = `Steps of ${bench.tokens} tokens: ${bench.mixture}, over those of ${bench.dense}`;
  const bars = report.expertBars(bench.results);
  await report.writeResults("experts", machine, { ...bench }, barChart(title, "ms", bars));
  console.log(`\n${title}\n${report.expertTable(bench.results)}`);
}

async function activationsPart(options: Options, machine: Machine): Promise<void> {
  const { cells, steps } = await benchActivations({ ...options, onProgress: progress });
  const title = "Activations of a step: what is kept, and what is held beside it at most";
  await report.writeResults("activations", machine, { cells, steps }, drawActivations(cells, DRAWN_WAYS));
  console.log(`\n${title}\n${activationTable(cells)}\n\n${savingTable(cells)}`);
  console.log(`\n${productTable(cells)}\n\n${timedTable(steps)}`);
}

async function gpuPart(options: Options, machine: Machine): Promise<void> {
  const hostLimits = await measureLimits(options.threads);
  const gpu = await benchGpu({ ...options, hostLimits, onProgress: progress });
  const { sizes } = gpu.preset;
  const title = `Training steps on the GPU: ${formatSizes(sizes)}`;
  const bars = gpuBars(gpu.cells, gpu.rivals);
  await report.writeResults("gpu", machine, { ...gpu }, barChart(title, "ms", bars));
  const { device, pytorch, card } = gpu;
  console.log(`\n${title}\n${device?.name}, driver for CUDA ${device?.driver}, cuBLASLt ${device?.cublasLt}`);
  console.log([card.before, card.after, pytorch].filter((line) => line !== null).join("\n"));
  console.log(`\n${cellTable(gpu.cells)}`);
  if (gpu.rivals.length > 0) console.log(`\n${rivalTable(gpu.rivals, gpu.cells)}`);
  if (gpu.hostBounds.length > 0) console.log(`\n${boundTable(gpu.hostBounds)}`);
  const missing = Object.entries(gpu.unmeasured);
  if (missing.length > 0) {
    console.log(`\nNot measured:\n${missing.map((pair) => pair.join(": ")).join("\n")}`);
  }
  console.log(`\n${verdictTable(gpu.verdicts)}`);
}

/** Says on stderr what was just measured. */
function progress(text: string): void {
  console.error(`measured ${text}`);
}

async function main(): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const options = readOptions(folder);
    await ensureBuilt();
    // A miniature runs on the emulated device where there is no other.
    if (options.quick && options.parts.includes("gpu")) await buildTarget("meft_cuda_emulated");
    if (options.parts.some((part) => LIMITED_PARTS.includes(part))) await buildTarget("bench_limits");
    const machine = await lookAtMachine(options.threads, options.seed);
    console.log(formatMachine(machine));
    const parts = {
      kernels: kernelsPart,
      step: stepPart,
      peers: peersPart,
      experts: expertsPart,
      activations: activationsPart,
      gpu: gpuPart,
    };
    for (const part of options.parts) await parts[part as keyof typeof parts](options, machine);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

helpIfAsked("bench");
try {
  await main();
} catch (error) {
  console.error(error instanceof UserError ? error.message : error);
  Deno.exit(error instanceof UserError ? 2 : 1);
}

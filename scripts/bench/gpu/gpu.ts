// SPDX-License-Identifier: Apache-2.0
/** Training steps of a 7B model on the GPU, beside the frozen model alone and PyTorch's ways to train as much. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../../lib/core/errors.ts";
import { hasCudaDevice, requireCuda } from "../../../lib/native/cuda.ts";
import { libraryPath, readEnv } from "../../../lib/native/library.ts";
import { outputOf } from "../../../lib/native/tools.ts";
import { peerCommand, requirePackages } from "../../parity/python.ts";
import { configJson } from "../checkpoint.ts";
import type { Limits } from "../kernels.ts";
import { LineProcess } from "../line_process.ts";
import {
  type Cell,
  cellsOf,
  type GpuPreset,
  MINIATURE,
  type RivalCell,
  rivalsOf,
  SEVEN_B,
  title,
} from "./cells.ts";
import type { CellAnswer, CellCase, FrozenAnswer } from "./cell_process.ts";
import { type HostBound, hostBounds } from "./host_bound.ts";
import type { CellResult } from "./measure.ts";
import { judge, type RivalResult, type Verdict } from "./verdicts.ts";

/** Choices of {@linkcode benchGpu}. */
export interface GpuOptions {
  readonly quick: boolean;
  readonly threads: number;
  readonly seed: number;
  /** Only cells and rivals whose names contain one of these; all when empty. */
  readonly only: readonly string[];
  /** After so many no cell is begun; null for as long as it takes. */
  readonly minutes: number | null;
  readonly folder: string;
  /** Peaks of the host, as the kernels' own benchmark measures them. */
  readonly hostLimits: Limits;
  readonly onProgress: (text: string) => void;
}

/** All that was measured. */
export interface GpuBench {
  /** As `nvidia-smi` says before and after, under load; null without. */
  readonly card: { readonly before: string | null; readonly after: string | null };
  readonly device: FrozenAnswer["facts"] | null;
  readonly pytorch: string | null;
  readonly preset: GpuPreset;
  /** By title of the group. */
  readonly groups: Readonly<Record<string, Omit<FrozenAnswer, "facts">>>;
  readonly contextBytes: number;
  readonly cells: readonly CellResult[];
  readonly rivals: readonly RivalResult[];
  /** What was not measured, with the reason. */
  readonly unmeasured: Readonly<Record<string, string>>;
  readonly hostLimits: Limits;
  readonly hostBounds: readonly HostBound[];
  readonly verdicts: readonly Verdict[];
}

/** What grows while cells are measured. */
interface Account {
  readonly cells: CellResult[];
  readonly rivals: RivalResult[];
  readonly groups: Record<string, Omit<FrozenAnswer, "facts">>;
  readonly unmeasured: Record<string, string>;
  facts: FrozenAnswer["facts"] | null;
  pytorch: string | null;
}

/** Environment of a process that measures cells; the emulated device stands in where a miniature has no GPU. */
function deviceEnvironment(quick: boolean): Record<string, string> {
  if (hasCudaDevice()) return {};
  if (!quick) {
    requireCuda();
    throw new UserError("The CUDA library is the emulated one: only --quick may run on it");
  }
  const beside = join(libraryPath("cpu"), "..", "libmeft_cuda_emulated.so");
  return { MEFT_CUDA_LIBRARY: readEnv("MEFT_CUDA_LIBRARY") ?? beside };
}

/**
 * Measures all cells, ours and PyTorch's, stage by stage.
 *
 * @throws {UserError} When there is no device, unless `quick`
 */
export async function benchGpu(options: GpuOptions): Promise<GpuBench> {
  const preset = options.quick ? MINIATURE : SEVEN_B;
  const environment = deviceEnvironment(options.quick);
  const until = options.minutes === null ? Infinity : performance.now() + 60_000 * options.minutes;
  const isWanted = ({ name }: { name: string }): boolean =>
    options.only.length === 0 || options.only.some((part) => name.includes(part));
  const [cells, rivals] = [cellsOf(preset).filter(isWanted), rivalsOf(preset).filter(isWanted)];
  const account: Account = { cells: [], rivals: [], groups: {}, unmeasured: {}, facts: null, pytorch: null };
  const before = await lookAtCard();
  const noRivals = await requirePackages().then(() => null, (error: Error) => error.message);
  for (const stage of [0, 1, 2] as const) {
    for (const group of runsOf(cells.filter((cell) => cell.stage === stage), title)) {
      await measureGroup(group, preset, options, { environment, until, account }).catch(lose(group, account));
    }
    for (
      const same of runsOf(rivals.filter((rival) => rival.stage === stage), ({ tokens }) => String(tokens))
    ) {
      if (noRivals === null) {
        await measureRivals(same, preset, options, { until, account }).catch(lose(same, account));
      } else for (const { name } of same) account.unmeasured[name] = noRivals;
    }
  }
  const { facts, pytorch, ...results } = account;
  const contextBytes = facts === null ? 0 : contextOf(facts);
  return {
    card: { before, after: await lookAtCard() },
    device: facts,
    pytorch,
    preset,
    ...results,
    contextBytes,
    hostLimits: options.hostLimits,
    hostBounds: hostBounds(preset, account.cells, options.hostLimits),
    verdicts: judge({
      ...{ preset, contextBytes, cells: account.cells, rivals: account.rivals, wanted: cellsOf(preset) },
      timed: facts?.backend === "cuda",
      frozenBytes: Object.fromEntries(
        Object.entries(account.groups).map(([name, { frozen }]) => [name, frozen.total]),
      ),
    }),
  };
}

/** Neighbours that are alike. */
function runsOf<T>(items: readonly T[], keyOf: (item: T) => string): T[][] {
  const groups = new Map<string, T[]>();
  for (const item of items) groups.set(keyOf(item), [...groups.get(keyOf(item)) ?? [], item]);
  return [...groups.values()];
}

/** Where results go, and until when. */
interface Limit {
  readonly until: number;
  readonly account: Account;
}

/** A process that ended takes its other cells with it, and no more: what was measured is kept. */
function lose(cells: readonly { readonly name: string }[], account: Account): (error: Error) => void {
  return ({ message }) => {
    const done = new Set([
      ...account.cells.map(({ cell }) => cell.name),
      ...account.rivals.map(({ name }) => name),
    ]);
    for (const { name } of cells) if (!done.has(name)) account.unmeasured[name] ??= message;
  };
}

const OUT_OF_TIME = "the minutes were over";

async function measureGroup(
  cells: readonly Cell[],
  preset: GpuPreset,
  options: GpuOptions,
  { until, account, environment }: Limit & { readonly environment: Record<string, string> },
): Promise<void> {
  const [first] = cells;
  if (first === undefined) return;
  if (performance.now() > until) return skip(cells, account);
  const { tokens, activations } = first;
  const ask = async <Answer>(cell: Cell | null): Promise<Answer> => {
    const file = await writeCase<CellCase>(options, { preset, tokens, activations, cell, ...seeds(options) });
    const script = fileURLToPath(new URL("cell_process.ts", import.meta.url));
    const args = ["run", "--quiet", "--allow-all", script, file];
    await using process = new LineProcess(Deno.execPath(), args, environment);
    return await process.next<Answer>(cell?.name ?? title(first));
  };
  if (!(title(first) in account.groups)) {
    const { facts, ...frozen } = await ask<FrozenAnswer>(null);
    account.facts ??= facts;
    account.groups[title(first)] = frozen;
  }
  for (const cell of cells) {
    if (performance.now() > until) {
      account.unmeasured[cell.name] = OUT_OF_TIME;
      continue;
    }
    const answer = await ask<CellAnswer>(cell).catch((error: Error): CellAnswer => ({
      problem: error.message,
    }));
    if ("result" in answer) account.cells.push(answer.result);
    else account.unmeasured[cell.name] = answer.problem;
    options.onProgress(cell.name + ("problem" in answer ? `: ${answer.problem}` : ""));
  }
}

async function measureRivals(
  rivals: readonly RivalCell[],
  preset: GpuPreset,
  options: GpuOptions,
  { until, account }: Limit,
): Promise<void> {
  const [first] = rivals;
  if (first === undefined) return;
  if (performance.now() > until) return skip(rivals, account);
  const { tokens } = first;
  const { warmups, rounds, sizes } = preset;
  const config = configJson(sizes, "bf16");
  const file = await writeCase(options, { config, tokens, warmups, rounds, ...seeds(options) });
  const { program, args, env } = peerCommand("bench_gpu.py", [file]);
  await using process = new LineProcess(program, args, env);
  account.pytorch = (await process.next<{ version: string }>(first.name)).version;
  for (const { name, method, neurons } of rivals) {
    if (performance.now() > until) {
      account.unmeasured[name] = OUT_OF_TIME;
      continue;
    }
    const answer = await process.ask<Omit<RivalResult, "name"> | { problem: string }>(
      JSON.stringify({ method, neurons }),
    );
    if ("problem" in answer) account.unmeasured[name] = answer.problem;
    else account.rivals.push({ ...answer, name, tokens, method, neurons });
    options.onProgress(`PyTorch: ${name}${"problem" in answer ? `: ${answer.problem}` : ""}`);
  }
}

function skip(cells: readonly { readonly name: string }[], account: Account): void {
  for (const { name } of cells) account.unmeasured[name] = OUT_OF_TIME;
}

function seeds({ threads, seed }: GpuOptions): { threads: number; seed: number } {
  return { threads, seed };
}

async function writeCase<Case>({ folder }: GpuOptions, one: Case): Promise<string> {
  const file = await Deno.makeTempFile({ dir: folder, suffix: ".json" });
  await Deno.writeTextFile(file, JSON.stringify(one));
  return file;
}

/** What the device has given to others than our ledger: driver, libraries, and what their pools keep. */
function contextOf({ memoryBytes, freeBytes, ledger }: FrozenAnswer["facts"]): number {
  const held = Object.entries(ledger).reduce(
    (sum, [name, { bytes }]) => name === "pinned" ? sum : sum + Number(bytes),
    0,
  );
  return Math.max(0, memoryBytes - freeBytes - held);
}

const CARD_FIELDS = [
  "name",
  "driver_version",
  "memory.total",
  "clocks.sm",
  "clocks.max.sm",
  "power.limit",
  "pcie.link.gen.current",
  "pcie.link.width.current",
];

async function lookAtCard(): Promise<string | null> {
  const query = [`--query-gpu=${CARD_FIELDS.join(",")}`, "--format=csv"];
  return (await outputOf("nvidia-smi", query))?.trim() ?? null;
}

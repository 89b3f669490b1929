// SPDX-License-Identifier: Apache-2.0
/** The same training step here and in PyTorch, in turn: step for step, each side in a process of its own. */
import {
  type CaseDType,
  type Checkpoint,
  formatSizes,
  type ModelSizes,
  writeCheckpoint,
} from "./checkpoint.ts";
import { type CaseDefaults, type CaseMethod, sparseSizes, stepCase } from "./cases.ts";
import { loadNow } from "./machine.ts";
import { median, summarize, type Summary } from "./statistics.ts";
import type { Ready } from "./step_process.ts";
import { type Contestant, enter, ratiosOf, takeTurns } from "./turns.ts";

/** The model of all pairings. */
const SIZES: ModelSizes = { hidden: 1024, layers: 8, heads: 16, kvHeads: 8, inner: 2816, vocabulary: 32000 };
const TOKENS = 1024;

/** Methods of the bar; LoRA at PEFT's default rank on every linear weight. */
const METHODS: readonly {
  readonly name: string;
  readonly method: CaseMethod;
  readonly dtypes: readonly CaseDType[];
}[] = [
  { name: "frozen", method: { method: "none", sizes: {} }, dtypes: ["bf16", "f32"] },
  { name: "lora", method: { method: "lora", sizes: { rank: 8, alpha: 16 } }, dtypes: ["bf16", "f32"] },
  { name: "sparse4k", method: sparseSizes(4096, 256), dtypes: ["bf16"] },
  { name: "sparse16k", method: sparseSizes(16384, 512), dtypes: ["bf16"] },
  { name: "parallel4k", method: { method: "parallel", sizes: { neurons: 4096 } }, dtypes: ["bf16"] },
];

/** One side of a pairing. */
export interface SideResult extends Ready {
  readonly stepMs: Summary;
  readonly peakBytes: number;
  readonly firstLoss: number;
}

/** A pairing. */
export interface Pairing {
  readonly name: string;
  readonly dtype: CaseDType;
  readonly load: number;
  readonly ours: SideResult;
  readonly torch: SideResult;
  /** The same in PyTorch after `torch.compile`; null when it was not tried, a message when it failed. */
  readonly torchCompiled: SideResult | string | null;
  /** Their time over ours: median over rounds of the ratio within a round, against the faster form of theirs. */
  readonly speedRatio: number;
  /** Our peak over theirs (eager). */
  readonly memoryRatio: number;
}

/** Choices of {@linkcode benchPeers}. */
export interface PeerOptions extends CaseDefaults {
  readonly rounds: number;
  readonly compile: boolean;
  /** Names of pairings to run; all when empty. */
  readonly only: readonly string[];
  readonly folder: string;
  readonly onPairing: (pairing: Pairing) => void;
}

/** All that was measured. */
export interface Peers {
  readonly model: string;
  readonly tokens: number;
  readonly pairings: Pairing[];
  /** Our bf16 step with the sparse adapter at r = 4096 over ours without, in turn; null when not wanted. */
  readonly sparseOverFrozen: number | null;
}

/** Runs all pairings. */
export async function benchPeers(options: PeerOptions): Promise<Peers> {
  const pairings: Pairing[] = [];
  let sparseOverFrozen: number | null = null;
  for (const dtype of ["bf16", "f32"] as const) {
    const wanted = METHODS.filter(({ name, dtypes }) =>
      dtypes.includes(dtype) && isWanted(name, options.only)
    );
    if (wanted.length === 0) continue;
    const checkpoint = await writeCheckpoint(options.folder, SIZES, dtype, options.seed);
    for (const { name, method } of wanted) {
      const pairing = await pair(name, method, checkpoint, options);
      options.onPairing(pairing);
      pairings.push(pairing);
    }
    const both = dtype === "bf16" && wanted.some(({ name }) => name === "sparse4k");
    if (both) sparseOverFrozen = await adapterCost(sparseSizes(4096, 256), checkpoint, options);
  }
  return { model: formatSizes(SIZES), tokens: TOKENS, pairings, sparseOverFrozen };
}

/** Our step with an adapter over ours without: the median over rounds in which both ran. */
async function adapterCost(
  method: CaseMethod,
  checkpoint: Checkpoint,
  options: PeerOptions,
): Promise<number> {
  await using stack = new AsyncDisposableStack();
  const none: CaseMethod = { method: "none", sizes: {} };
  const without = stack.use(await enter("ours", stepCase("without", checkpoint, none, TOKENS, options)));
  const having = stack.use(await enter("ours", stepCase("with", checkpoint, method, TOKENS, options)));
  await takeTurns([without, having], 2 * options.rounds);
  return median(ratiosOf(having, without));
}

function isWanted(name: string, only: readonly string[]): boolean {
  return only.length === 0 || only.includes(name);
}

async function pair(
  name: string,
  method: CaseMethod,
  checkpoint: Checkpoint,
  options: PeerOptions,
): Promise<Pairing> {
  const one = stepCase(name, checkpoint, method, TOKENS, options);
  const load = loadNow();
  await using stack = new AsyncDisposableStack();
  const ours = stack.use(await enter("ours", one));
  const torch = stack.use(await enter("torch", one));
  const compiled = options.compile
    ? await enter("torch", { ...one, name: `${name}-compiled`, compile: true }).catch(messageOf)
    : null;
  const contestants = [ours, torch];
  if (compiled !== null && typeof compiled !== "string") contestants.push(stack.use(compiled));
  await takeTurns(contestants, options.rounds);
  const theirs = contestants.slice(1).map(({ ms }) => ms);
  const ratios = ours.ms.map((mine, round) => Math.min(...theirs.map((ms) => ms[round] as number)) / mine);
  const [oursResult, torchResult] = [await resultOf(ours), await resultOf(torch)];
  return {
    name,
    dtype: checkpoint.dtype,
    load,
    ours: oursResult,
    torch: torchResult,
    torchCompiled: compiled === null || typeof compiled === "string" ? compiled : await resultOf(compiled),
    speedRatio: median(ratios),
    memoryRatio: oursResult.peakBytes / torchResult.peakBytes,
  };
}

async function resultOf({ process, ms, firstLoss }: Contestant): Promise<SideResult> {
  return { ...process.ready, stepMs: summarize(ms), peakBytes: await process.peakBytes(), firstLoss };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

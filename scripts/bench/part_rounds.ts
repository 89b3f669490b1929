// SPDX-License-Identifier: Apache-2.0
/** Parts of the sparse adapter and AdamW against their yardsticks: rounds of both in turn, medians compared. */
import { LineProcess } from "./line_process.ts";
import { builtProgram } from "./kernels.ts";
import { median } from "./statistics.ts";
import { TARGETS } from "../../lib/native/context.ts";
import { BASELINE_TARGET } from "../../lib/native/targets.ts";
import { peerCommand } from "../parity/python.ts";

/** A round of `bench_parts`; limits are measured right after the call, in the same process. */
export interface PartRound {
  readonly seconds: number;
  /** Of the adapter's parts: (token, neuron) pairs that fired, and neurons among them. */
  readonly pairs: number;
  readonly touched: number;
  readonly f32Gflops: number;
  readonly bf16Gflops: number;
  readonly readGigabytes: number;
  /** Seconds a parameter of AdamW's seven f32 streams with trivial arithmetic. */
  readonly updateSeconds: number;
}

/** A kernel beside its yardstick. */
export interface Comparison {
  readonly kernel: string;
  readonly size: string;
  readonly measured: string;
  readonly yardstick: string;
  readonly ratio: number | null;
  readonly bar: number;
  readonly atMost: boolean;
  readonly overPortable: number | null;
  /** Why the yardstick is missing. */
  readonly missing: string | null;
  /** Median of ours. */
  readonly seconds: number;
}

/** What is compared. Lines are those of csrc/bench/rounds.cpp and scripts/peers/bench_kernels.py. */
interface PartCase {
  readonly kernel: string;
  readonly line: string;
  /** The other side: one more line of ours, or one of PyTorch; absent where a limit of the round is the yardstick. */
  readonly against?: { readonly ours: string } | { readonly peer: string };
  readonly yardstick: string;
  readonly bar: number;
  readonly atMost?: boolean;
  /** The ratio of a round; `other` are seconds of the other side. */
  readonly ratio: (ours: PartRound, other: number) => number;
  readonly measured: (ours: PartRound) => string;
}

const BASE = "4096x16384x64x4x64x1024";
const ms = ({ seconds }: PartRound): string => `${(1e3 * seconds).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
const us = ({ seconds }: PartRound): string => `${(1e6 * seconds).toFixed(2)} us`;
const perParameter = (count: number) => ({ seconds }: PartRound): string =>
  `${(1e9 * seconds / count).toFixed(3)} ns/param`;
const faster = ({ seconds }: PartRound, other: number): number => other / seconds;

/** Sizes of a line: d, r, N, k_e, K, T. */
function sizes(line: string): { d: number; R: number; N: number; k: number; K: number; T: number } {
  const [d = 0, R = 0, N = 0, k = 0, K = 0, T = 0] = line.split("x").map(Number);
  return { d, R, N, k, K, T };
}

function scoreCase(size: string, bar: number): PartCase {
  const { d, R, N, k, T } = sizes(size);
  const gflop = 2e-9 * T * k * R / N * d;
  return {
    kernel: `score + top-K, ${T * k / N} tokens an expert`,
    line: `score ${size}`,
    yardstick: "multiply-add peak",
    bar,
    ratio: (round) => gflop / round.seconds / round.bf16Gflops,
    measured: (round) => `${(gflop / round.seconds).toFixed(0)} GFLOP/s`,
  };
}

function fewCase(size: string): PartCase {
  const { d, R, N, k, T } = sizes(size);
  const gigabytes = 2e-9 * R * d;
  return {
    kernel: `score + top-K, ${T * k / N} tokens an expert`,
    line: `score ${size}`,
    yardstick: "memory read, keys once",
    bar: 0.65,
    ratio: (round) => gigabytes / round.seconds / round.readGigabytes,
    measured: (round) => `${(gigabytes / round.seconds).toFixed(1)} GB/s`,
  };
}

function pairCase(kernel: string, part: string, sums: number): PartCase {
  const gflops = ({ seconds, pairs }: PartRound) => 2e-9 * sums * pairs * sizes(BASE).d / seconds;
  return {
    kernel,
    line: `${part} ${BASE}`,
    yardstick: "GFLOP/s",
    bar: 25,
    ratio: gflops,
    measured: ms,
  };
}

function touchedCase(d: number, rows: number, bar: number): PartCase {
  return {
    kernel: "AdamW of 30 % of rows, increasing",
    line: `adamw_touched ${d}x${rows}x30`,
    against: { ours: `adamw_touched ${d}x${rows}x100` },
    yardstick: "all rows, per parameter",
    bar,
    atMost: true,
    ratio: ({ seconds }, other) => seconds / other,
    measured: perParameter(1),
  };
}

const LARGE = 1 << 26; // parameters: 1 GiB of streams
const CACHED = 1 << 18; // 1 MiB an array

function adamwAgainst(peer: string, yardstick: string, count: number, bar: number): PartCase {
  return {
    kernel: "AdamW dense",
    line: `adamw_dense ${count}`,
    against: { peer: `${peer} ${count}` },
    yardstick,
    bar,
    ratio: faster,
    measured: perParameter(count),
  };
}

function stepAgainst(peer: string, yardstick: string, bar: number): PartCase {
  return {
    kernel: "whole adapter step",
    line: `step ${BASE}`,
    against: { peer: `${peer} ${BASE}` },
    yardstick,
    bar,
    ratio: faster,
    measured: ms,
  };
}

const CASES: readonly PartCase[] = [
  scoreCase(BASE, 0.7),
  scoreCase("1024x16384x64x4x64x2048", 0.6),
  fewCase("4096x16384x64x4x64x128"),
  fewCase("4096x16384x64x4x64x64"),
  ...[1024, 4096, 16384, 65536].map((count): PartCase => ({
    kernel: `selection of 64 of ${count}, one thread`,
    line: `select ${count}x64`,
    against: { peer: `topk ${count}x64` },
    yardstick: "torch.topk",
    bar: 5,
    ratio: faster,
    measured: us,
  })),
  {
    kernel: "y (and dx: the same kernel on keys)",
    line: `sum_values ${BASE}`,
    against: { ours: `sum_by_token ${BASE}` },
    yardstick: "token by token, f32 rows",
    bar: 2,
    ratio: faster,
    measured: ms,
  },
  {
    kernel: "y (and dx: the same kernel on keys)",
    line: `sum_values ${BASE}`,
    against: { peer: `embedding_bag ${BASE}` },
    yardstick: "torch embedding_bag",
    bar: 2,
    ratio: faster,
    measured: ms,
  },
  pairCase("da", "dots", 1),
  pairCase("dW rows of keys and values", "rows", 2),
  {
    kernel: "AdamW dense f32",
    line: `adamw_dense ${LARGE}`,
    yardstick: "the same 7 streams, trivial arithmetic",
    bar: 0.95,
    ratio: ({ seconds, updateSeconds }) => updateSeconds * LARGE / seconds,
    measured: perParameter(LARGE),
  },
  adamwAgainst("deepspeed", "DeepSpeed's CPU Adam, from memory", LARGE, 0.95),
  adamwAgainst("deepspeed", "DeepSpeed's CPU Adam, in cache", CACHED, 1),
  adamwAgainst("adamw_foreach", "torch AdamW, foreach", LARGE, 6),
  adamwAgainst("adamw_tensor", "torch AdamW, per tensor", LARGE, 6),
  touchedCase(4096, 16384, 1.15),
  touchedCase(1024, 65536, 1.25),
  touchedCase(256, 262144, 1.8),
  {
    kernel: "dW + AdamW fused",
    line: `fused ${BASE}`,
    against: { ours: `adamw ${BASE}` },
    yardstick: "AdamW of the same rows alone",
    bar: 1.15,
    atMost: true,
    ratio: ({ seconds }, other) => seconds / other,
    measured: ms,
  },
  stepAgainst("gathered", "torch, rows gathered", 20),
  stepAgainst("grouped_bf16", "torch, dense products an expert, bf16", 4),
  stepAgainst("grouped_f32", "torch, dense products an expert, f32", 4),
];

/** Choices of {@linkcode compareParts}. */
export interface PartOptions {
  readonly threads: number;
  readonly rounds: number;
  readonly quick: boolean;
  /** Whether Python is asked for PyTorch's side. */
  readonly peers: boolean;
  readonly onResult: (result: Comparison) => void;
}

/** Measures all of them. */
export async function compareParts(options: PartOptions): Promise<Comparison[]> {
  const threads = String(options.threads);
  await using ours = new LineProcess(builtProgram("bench_parts"), [threads]);
  await using portable = new LineProcess(builtProgram("bench_parts"), [
    threads,
    String(TARGETS[BASELINE_TARGET]),
  ]);
  const command = peerCommand("bench_kernels.py", [threads]);
  await using peer = options.peers ? new LineProcess(command.program, command.args, command.env) : null;
  const results: Comparison[] = [];
  const seen = new Set<string>(); // the portable form of a line is measured once
  for (const one of CASES) {
    const slow = options.quick || seen.has(one.line) ? null : portable;
    seen.add(one.line);
    const result = await compare(one, ours, slow, peer, options.rounds);
    options.onResult(result);
    results.push(result);
  }
  return results;
}

type PeerRound = { readonly seconds: number } | { readonly missing: string };

async function compare(
  one: PartCase,
  ours: LineProcess,
  portable: LineProcess | null,
  peer: LineProcess | null,
  rounds: number,
): Promise<Comparison> {
  const { kernel, line, against, yardstick, bar, atMost = false } = one;
  const [, size = ""] = line.split(" ");
  const mine: PartRound[] = [];
  const ratios: number[] = [];
  let missing = against && "peer" in against && peer === null ? "no Python named by MEFT_PYTHON" : null;
  await ours.ask(line); // operands are made, caches and pages filled
  for (let round = 0; round < rounds; round++) {
    const measured = await ours.ask<PartRound>(line);
    mine.push(measured);
    let other = NaN;
    if (against && "ours" in against) other = (await ours.ask<PartRound>(against.ours)).seconds;
    else if (against && peer && missing === null) {
      const answer = await peer.ask<PeerRound>(against.peer);
      if ("missing" in answer) missing = answer.missing;
      else other = answer.seconds;
    }
    ratios.push(one.ratio(measured, other));
  }
  const seconds = median(mine.map((round) => round.seconds));
  const middle = { ...mine[0] as PartRound, seconds };
  const slow = portable && (await portable.ask<PartRound>(line)).seconds;
  return {
    kernel,
    size,
    measured: one.measured(middle),
    yardstick,
    ratio: missing === null ? median(ratios) : null,
    bar,
    atMost,
    overPortable: slow && slow / seconds,
    missing,
    seconds,
  };
}

/** Whether MEFT_PYTHON names an interpreter for the other sides. */
export function hasPeers(): boolean {
  return Deno.env.has("MEFT_PYTHON");
}

// SPDX-License-Identifier: Apache-2.0
/** Scratch of the sparse adapter's kernels, foretold by the sizes of csrc/cpu/kernels/sparse_*.cpp. */
import type { Adapter } from "../adapters/adapter.ts";
import type { SparseSettings } from "../adapters/sparse/config.ts";
import { pairRoom, unitedNeurons } from "../ops/sparse.ts";
import {
  narrowProductBytes,
  operandBytes,
  type ProductPlace,
  together,
  wideProductBytes,
} from "../ops/counting/product_scratch.ts";

/** Of sparse_score.h, sparse_select.cpp and sparse_union.cpp, by their names. */
const SCORE_TOKENS = 192;
const SCORE_ROWS = 256;
const FEW_TOKENS = 64;
const TILE_BYTES = FEW_TOKENS * (2 * 2048 + 64);
const FILTER_BYTES = 4 * 2 ** 20;
const LIST_BYTES = 16 * 2 ** 20;
/** Of a token's filter or list beside its room, and of a run of pairs of one token and expert. */
const FILTER_RECORD_BYTES = 32;
const SEGMENT_BYTES = 16;
const ROUTED_WIDE_TOKENS = 192;

/** Scratch of the adapter's forward at most, and of its backward with `gradient`. */
export function sparseWorkspaceBytes(
  adapter: Adapter,
  hidden: number,
  place: ProductPlace,
  tokens: number,
  gradient: boolean,
): number {
  const settings = adapter.config as unknown as SparseSettings;
  return Math.max(
    routeBytes(settings, hidden, place, tokens),
    fireBytes(settings, hidden, place, tokens),
    gradient ? backwardBytes(settings, hidden, place, tokens) : 0,
  );
}

function routeBytes(
  { experts }: SparseSettings,
  hidden: number,
  place: ProductPlace,
  tokens: number,
): number {
  const floats: ProductPlace = { ...place, compute: "f32", operandDType: "f32" };
  return tokens < ROUTED_WIDE_TOKENS
    ? narrowProductBytes(floats, { m: experts, n: tokens, k: hidden })
    : wideProductBytes(floats, { m: tokens, n: experts, k: hidden, copies: false });
}

/** Gate factors that are computed, in both passes. */
function factorBytes({ gate, experts }: SparseSettings, tokens: number): number {
  return gate === "softmax" || gate === "sigmoid" ? 4 * tokens * experts : 0;
}

/** What a thread scores with: packed tokens, a tile of keys, scores. */
function scoreBlockBytes(hidden: number, place: ProductPlace): number {
  const operand = operandBytes(place);
  return SCORE_TOKENS * hidden * operand + TILE_BYTES + SCORE_ROWS * (SCORE_TOKENS + place.lanes) * 4;
}

/** Tokens that a thread works on at once, so that all have work and their lists fit. */
function blockTokens(work: number, { threads, lanes }: ProductPlace, room: number, most: number): number {
  const fitting = Math.floor(most / (room * 8) / lanes) * lanes;
  const shared = Math.ceil(Math.floor(work / (2 * threads)) / 64) * 64;
  return Math.max(lanes, Math.min(shared, SCORE_TOKENS, fitting));
}

function fireBytes(settings: SparseSettings, hidden: number, place: ProductPlace, tokens: number): number {
  const { neurons, experts, activeExperts, topK, scope } = settings;
  const { threads, lanes } = place;
  const entries = tokens * activeExperts;
  const held = neurons / experts;
  const room = Math.min(topK, held);
  const filterRoom = Math.min(held, Math.max(room + 64, 2 * room)) + lanes;
  const block = blockTokens(entries, place, filterRoom, FILTER_BYTES);
  const candidates = together(tokens, factorBytes(settings, tokens), entries * room * 8, entries * 4);
  const items = entries / block + experts;
  const ofThread = scoreBlockBytes(hidden, place) + block * (8 * filterRoom + FILTER_RECORD_BYTES);
  const selecting = together(entries * 4, 16 * experts, items * 16, threads * ofThread);
  if (scope === "token") return candidates + Math.max(selecting, segmentBytes(settings, tokens));
  const lists = unitedNeurons({ ...settings, tokens }) + lanes;
  const listed = blockTokens(tokens, place, lists, LIST_BYTES);
  const ofList = scoreBlockBytes(hidden, place) + listed * (8 * lists + FILTER_RECORD_BYTES);
  const staging = together(8 * pairRoom({ ...settings, tokens }), 5 * neurons, threads * ofList);
  return candidates + Math.max(selecting, staging);
}

/** Runs of pairs of a token and an expert: in scope union a token may fire in all of them. */
function segmentCount({ scope, experts, activeExperts }: SparseSettings, tokens: number): number {
  return tokens * (scope === "token" ? activeExperts : experts);
}

function segmentBytes(settings: SparseSettings, tokens: number): number {
  return together(24 * settings.experts, 4 * tokens, SEGMENT_BYTES * segmentCount(settings, tokens));
}

/** Gradients of scores; of the router by segments; pairs sorted by neuron. */
function backwardBytes(
  settings: SparseSettings,
  hidden: number,
  place: ProductPlace,
  tokens: number,
): number {
  const { neurons, experts, gate } = settings;
  const pairs = pairRoom({ ...settings, tokens });
  const segments = segmentCount(settings, tokens);
  const kept = segmentBytes(settings, tokens) +
    together(factorBytes(settings, tokens), 4 * pairs, 4 * segments);
  const floats: ProductPlace = { ...place, compute: "f32", operandDType: "f32" };
  const dense = gate !== "softmax" ? 0 : together(
    4 * tokens * experts,
    wideProductBytes(floats, { m: experts, n: hidden, k: tokens, copies: true }),
  );
  const sparse = gate === "raw" || gate === "sigmoid" ? 16 * segments : 0;
  const sorted = together(12 * pairs, 20 * neurons, 4 * place.threads * hidden);
  return kept + Math.max(dense, sparse, sorted);
}

// SPDX-License-Identifier: Apache-2.0
/** Scratch of the sparse adapter's kernels, by the sizes of csrc/cpu/kernels/sparse_*.cpp. */
import type { SparseShape } from "../kernels/rows.ts";
import { pairRoom, unitedNeurons } from "../sparse_pairs.ts";
import {
  narrowProductBytes,
  operandBytes,
  type ProductPlace,
  together,
  wideProductBytes,
} from "./product_scratch.ts";

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

/** The router's product, in f32. */
export function sparseRouteScratch(
  place: ProductPlace,
  { experts, hidden, tokens }: SparseShape,
): number {
  const floats: ProductPlace = { ...place, compute: "f32", operandDType: "f32" };
  return tokens < ROUTED_WIDE_TOKENS
    ? narrowProductBytes(floats, { m: experts, n: tokens, k: hidden })
    : wideProductBytes(floats, { m: tokens, n: experts, k: hidden, copies: false });
}

/** Gate factors that are computed, in both passes. */
function factorBytes({ gate, experts, tokens }: SparseShape): number {
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

/** Scoring, and the choice among the scores. */
export function sparseForwardScratch(place: ProductPlace, shape: SparseShape): number {
  const { neurons, experts, activeExperts, topK, scope, tokens, hidden } = shape;
  const { threads, lanes } = place;
  const entries = tokens * activeExperts;
  const held = neurons / experts;
  const room = Math.min(topK, held);
  const filterRoom = Math.min(held, Math.max(room + 64, 2 * room)) + lanes;
  const block = blockTokens(entries, place, filterRoom, FILTER_BYTES);
  const candidates = together(tokens, factorBytes(shape), entries * room * 8, entries * 4);
  const items = entries / block + experts;
  const ofThread = scoreBlockBytes(hidden, place) + block * (8 * filterRoom + FILTER_RECORD_BYTES);
  const selecting = together(entries * 4, 16 * experts, items * 16, threads * ofThread);
  if (scope === "token") return candidates + Math.max(selecting, segmentBytes(shape));
  const lists = unitedNeurons(shape) + lanes;
  const listed = blockTokens(tokens, place, lists, LIST_BYTES);
  const ofList = scoreBlockBytes(hidden, place) + listed * (8 * lists + FILTER_RECORD_BYTES);
  const staging = together(8 * pairRoom(shape), 5 * neurons, threads * ofList);
  return candidates + Math.max(selecting, staging);
}

/** Runs of pairs of a token and an expert: in scope union a token may fire in all of them. */
function segmentCount({ scope, experts, activeExperts, tokens }: SparseShape): number {
  return tokens * (scope === "token" ? activeExperts : experts);
}

function segmentBytes(shape: SparseShape): number {
  return together(24 * shape.experts, 4 * shape.tokens, SEGMENT_BYTES * segmentCount(shape));
}

/** Gradients of scores; of the router by segments; pairs sorted by neuron. */
export function sparseBackwardScratch(place: ProductPlace, shape: SparseShape): number {
  const { neurons, experts, gate, tokens, hidden } = shape;
  const pairs = pairRoom(shape);
  const segments = segmentCount(shape);
  const kept = segmentBytes(shape) +
    together(factorBytes(shape), 4 * pairs, 4 * segments);
  const floats: ProductPlace = { ...place, compute: "f32", operandDType: "f32" };
  const dense = gate !== "softmax" ? 0 : together(
    4 * tokens * experts,
    wideProductBytes(floats, { m: experts, n: hidden, k: tokens, copies: true }),
  );
  const sparse = gate === "raw" || gate === "sigmoid" ? 16 * segments : 0;
  const sorted = together(12 * pairs, 20 * neurons, 4 * place.threads * hidden);
  return kept + Math.max(dense, sparse, sorted);
}

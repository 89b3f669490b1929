// SPDX-License-Identifier: Apache-2.0
/** Rows of chosen tokens alone, and modules if any, with no adapter beside them: PEFT's `TrainableTokensConfig`. */
import { unknownOptions } from "../core/option_checks.ts";
import type { Adapter, AdapterParams, Resolved } from "./adapter.ts";
import type { AdapterDefinition } from "./definition.ts";

/** Token rows as an adapter: all that it trains is chosen by the options that every adapter has beside its own. */
export const TOKENS = {
  kind: "tokens",
  summary: "rows of chosen tokens in the embedding, and nothing else",
  options: {},
  rows: false,
  example: { trainableTokenIndices: [0] },
  lr: 1e-4,
  headLr: 1e-3,
  resolve: tokensAdapter,
} as const satisfies AdapterDefinition;

function tokensAdapter(options: object): Resolved {
  const adapter: Adapter = {
    kind: "tokens",
    config: {},
    sites: ["embedding"],
    placements: ["device"],
    nothingAlone: "the tokens adapter has nothing to train: choose tokens by trainableTokenIndices",
    sizes: () => ({ parameters: [], rows: null }),
    create: () => nothing(adapter),
  };
  return { adapter, problems: unknownOptions(TOKENS.options, options, "the tokens adapter") };
}

function nothing(adapter: Adapter): AdapterParams {
  return {
    adapter,
    parameters: [],
    byLayer: [],
    init: () => {},
    attach: () => ({ hooks: {} }),
    merge: () => [],
    activeNeurons: () => 0,
    release: () => {},
  };
}

// SPDX-License-Identifier: Apache-2.0
/**
 * A mixture of experts beside the dense model of its active size, step for step in turn: what choosing experts, and products
 * of few tokens, cost above the arithmetic that both have.
 */
import { type CaseDefaults, type CaseMethod, sparseSizes, stepCase } from "./cases.ts";
import { type CaseDType, formatSizes, type ModelSizes, writeCheckpoint } from "./checkpoint.ts";
import { loadNow } from "./machine.ts";
import { summarize, type Summary } from "./statistics.ts";
import { enter, ratiosOf, takeTurns } from "./turns.ts";

/** A step of the mixture takes at most this much of the dense model's. */
export const EXPERTS_BAR = 1.3;

const ACTIVE = 4;
const EXPERT_SIZE = 352;
/** As many weights as a token meets: the mixture with all but its active experts away. */
const DENSE: ModelSizes = {
  hidden: 512,
  layers: 4,
  heads: 8,
  kvHeads: 4,
  inner: ACTIVE * EXPERT_SIZE,
  vocabulary: 8192,
};
const MIXTURE: ModelSizes = { ...DENSE, inner: EXPERT_SIZE, experts: { count: 32, active: ACTIVE } };
const TOKENS = 512;

const METHODS: Readonly<Record<string, CaseMethod>> = {
  frozen: { method: "none", sizes: {} },
  lora: { method: "lora", sizes: { rank: 8, alpha: 16 } },
  sparse4k: sparseSizes(4096, 256),
};

/** Both models with one method. */
export interface ExpertsResult {
  readonly name: string;
  readonly dtype: CaseDType;
  readonly load: number;
  readonly denseMs: Summary;
  readonly mixtureMs: Summary;
  /** The mixture's time over the dense model's, of each round. */
  readonly ratio: Summary;
}

/** Choices of {@linkcode benchExperts}. */
export interface ExpertsOptions extends CaseDefaults {
  readonly rounds: number;
  /** Only the frozen model. */
  readonly quick: boolean;
  /** Names of methods to measure; all when empty. */
  readonly only: readonly string[];
  readonly folder: string;
  readonly onResult: (result: ExpertsResult) => void;
}

/** All that was measured. */
export interface ExpertsBench {
  readonly dense: string;
  readonly mixture: string;
  readonly tokens: number;
  readonly results: readonly ExpertsResult[];
}

/** Measures every method in f32 and in bf16. */
export async function benchExperts(options: ExpertsOptions): Promise<ExpertsBench> {
  const names = options.quick ? ["frozen"] : Object.keys(METHODS);
  const wanted = names.filter((name) => options.only.length === 0 || options.only.includes(name));
  const results: ExpertsResult[] = [];
  for (const dtype of ["f32", "bf16"] as const) {
    if (wanted.length === 0) break;
    const write = (sizes: ModelSizes) => writeCheckpoint(options.folder, sizes, dtype, options.seed);
    const checkpoints = [await write(DENSE), await write(MIXTURE)] as const;
    for (const name of wanted) {
      const load = loadNow();
      const [denseCase, mixtureCase] = checkpoints.map((checkpoint) =>
        stepCase(name, checkpoint, METHODS[name] as CaseMethod, TOKENS, options)
      );
      if (!denseCase || !mixtureCase) throw new RangeError("There are two models");
      await using dense = await enter("ours", denseCase);
      await using mixture = await enter("ours", mixtureCase);
      await takeTurns([dense, mixture], options.rounds);
      const [denseMs, mixtureMs] = [summarize(dense.ms), summarize(mixture.ms)];
      const result = { name, dtype, load, denseMs, mixtureMs, ratio: summarize(ratiosOf(mixture, dense)) };
      options.onResult(result);
      results.push(result);
    }
  }
  return { dense: formatSizes(DENSE), mixture: formatSizes(MIXTURE), tokens: TOKENS, results };
}

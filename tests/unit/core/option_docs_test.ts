// SPDX-License-Identifier: Apache-2.0
/** What an editor shows of an option, its comment, names the default that it has. */
import assert from "node:assert/strict";
import { PARALLEL } from "../../../lib/adapters/parallel.ts";
import { LORA_OPTIONS } from "../../../lib/adapters/lora/options.ts";
import { SPARSE_OPTIONS } from "../../../lib/adapters/sparse/config.ts";
import { type OptionSchema, valueText } from "../../../lib/core/options.ts";
import { ANSWER_OPTIONS } from "../../../lib/evaluate/answer_options.ts";
import { SAMPLING_OPTIONS } from "../../../lib/evaluate/sampling.ts";
import { ADAMW_OPTIONS } from "../../../lib/optim/adamw.ts";
import { SCHEDULE_OPTIONS } from "../../../lib/optim/schedule.ts";
import { SCORING_OPTIONS } from "../../../lib/study/scoring.ts";
import { MACHINE_OPTIONS } from "../../../lib/train/open_model.ts";
import { PLACEMENT_OPTIONS } from "../../../lib/train/placement.ts";
import {
  BATCH_OPTIONS,
  COMPUTE_OPTIONS,
  KEEPING_OPTIONS,
  LENGTH_OPTIONS,
  PACKING_OPTION,
} from "../../../lib/train/run_options.ts";

const DECLARED: readonly (readonly [string, OptionSchema])[] = [
  ["adapters/sparse/config.ts", SPARSE_OPTIONS],
  ["adapters/parallel.ts", PARALLEL.options],
  ["adapters/lora/options.ts", LORA_OPTIONS],
  ["optim/adamw.ts", ADAMW_OPTIONS],
  ["optim/schedule.ts", SCHEDULE_OPTIONS],
  ["train/run_options.ts", { ...LENGTH_OPTIONS, ...BATCH_OPTIONS, ...PACKING_OPTION, ...COMPUTE_OPTIONS }],
  ["train/run_options.ts", KEEPING_OPTIONS],
  ["train/placement.ts", PLACEMENT_OPTIONS],
  ["train/open_model.ts", MACHINE_OPTIONS],
  ["evaluate/sampling.ts", SAMPLING_OPTIONS],
  ["evaluate/answer_options.ts", { maxNewTokens: ANSWER_OPTIONS.maxNewTokens, seed: ANSWER_OPTIONS.seed }],
  ["study/scoring.ts", SCORING_OPTIONS],
];

/** The comment above an option, in one line; null where its help says all. */
function commentOf(source: string, option: string): string | null {
  const [above = ""] = source.split(new RegExp(`\\n  ${option}: \\w+\\(`), 1);
  if (!above.endsWith("*/")) return null;
  return above.slice(above.lastIndexOf("/**")).replaceAll(/\s*\n\s*(?:\*(?!\/))?\s*/g, " ");
}

Deno.test("the comment of an option that code can choose says its default where that is a constant", async () => {
  for (const [file, schema] of DECLARED) {
    const source = await Deno.readTextFile(new URL(`../../../lib/${file}`, import.meta.url));
    for (const [name, { default: value }] of Object.entries(schema)) {
      const comment = commentOf(source, name);
      if (value === undefined || comment === null) continue;
      assert.match(comment, /default/i, `${file}: ${name}`);
      assert.ok(
        comment.includes(valueText(value)),
        `${file}: ${name} is ${value} by default, not so in ${comment}`,
      );
    }
  }
});

// SPDX-License-Identifier: Apache-2.0
/** `deno task merge`: folds an adapter into its model and writes a plain Hugging Face checkpoint. */
import { choice, integer, text, toggle } from "../../core/options.ts";
import { throwIfAny } from "../../core/errors.ts";
import { formatBytes } from "../../report/format.ts";
import { formatTable } from "../../report/table.ts";
import { mergeAdapter } from "../../merge/merge.ts";
import type { MergedDType } from "../../merge/merged_checkpoint.ts";
import { warningOnOtherBase } from "../adapter_session.ts";
import { flagsOf, type FlagValues } from "../flags/flags.ts";
import { type Output, warn } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";
import { warnOfCheckpoint } from "../session.ts";

const NEEDED = ["adapter", "out"] as const;

const allowed = (found: number, bound: number) =>
  `${found.toExponential(2)} (allowed ${bound.toExponential(2)})`;

async function run(values: FlagValues, output: Output): Promise<number> {
  throwIfAny(
    "The command line of merge",
    NEEDED.filter((name) => values[name] === undefined).map((name) => `--${name} is needed`),
  );
  const dtype = (values.dtype ?? "base") as MergedDType | "base";
  const report = await mergeAdapter({
    ...(typeof values.model === "string" ? { model: values.model } : {}),
    adapter: values.adapter as string,
    out: values.out as string,
    dtype: dtype === "base" ? null : dtype,
    ...(typeof values.threads === "number" ? { threads: values.threads } : {}),
    onWarning: warn,
    ...warningOnOtherBase(values),
  });
  const { comparison } = report;
  warnOfCheckpoint(report);
  output.line(formatTable([
    ["merged", ""],
    ["tensors", `${report.changedTensors} of ${report.tensors} changed`],
    ["size", formatBytes(report.bytes)],
    ["logits compared", String(comparison.count)],
    ["largest logit", comparison.largestLogit.toPrecision(3)],
    ["largest difference", allowed(comparison.largestDifference, comparison.bound)],
    ["mean difference", allowed(comparison.rmsDifference, comparison.rmsBound)],
    ["allowed are", comparison.rule],
    ["written to", report.out],
  ]));
  output.result(report);
  return EXIT.done;
}

const OPTIONS = {
  model: text({ path: true, help: "Hugging Face checkpoint folder", defaultText: "the adapter's" }),
  adapter: text({ path: true, help: "adapter folder of a run" }),
  out: text({ path: true, help: "folder to write, new or empty" }),
  dtype: choice(["base", "f32", "bf16", "f16"], {
    help: "type of the merged weights",
    defaultText: "base, each tensor's own",
  }),
  threads: integer({ min: 1, help: "CPU threads of the comparison", defaultText: "all cores" }),
  force: toggle({ help: "no warning when the adapter was trained on another base model" }),
} as const;

/** The command. */
export const MERGE: CommandSpec = {
  name: "merge",
  summary:
    "Folds an adapter into its model: writes a plain checkpoint, and checks it against the two before it is there.",
  examples: [
    "deno task merge --model checkpoints/llama --adapter runs/facts/adapter --out checkpoints/llama-facts",
    "deno task merge --model checkpoints/llama --adapter runs/facts/adapter --out merged --dtype f32",
  ],
  flags: flagsOf(OPTIONS),
  run,
};

// SPDX-License-Identifier: Apache-2.0
/** Answers as a JSONL file, one object a row. */
import { dirname } from "node:path";
import { text } from "../core/options.ts";
import { problemOf } from "../files/errors.ts";
import { isFolderSync } from "../files/read.ts";
import { writeTextTo } from "../files/write.ts";
import type { FlagValues } from "./flags/flags.ts";

/** Where the answers go. */
export const PREDICTIONS_OPTION = {
  predictions: text({ path: true, help: "JSONL file for the answers, row by row" }),
} as const;

/** Why the file that the flags name cannot be written, as far as that shows before there are answers. */
export function predictionsProblems({ predictions }: FlagValues): string[] {
  if (typeof predictions !== "string") return [];
  const folder = dirname(predictions);
  try {
    if (isFolderSync(predictions)) return [`--predictions is "${predictions}", a folder: name a file in it`];
    return isFolderSync(folder)
      ? []
      : [`--predictions is "${predictions}", but there is no folder "${folder}"`];
  } catch (error) {
    // Deno forbids to look at devices unless everything is allowed.
    const isDevice = error instanceof Error && error.cause instanceof Deno.errors.NotCapable;
    return [
      isDevice
        ? `--predictions is "${predictions}": this command may write files, but no devices`
        : `--predictions: ${problemOf(error)}`,
    ];
  }
}

/** @throws {UserError} When the file cannot be written */
export async function writePredictions(path: string, rows: readonly unknown[]): Promise<void> {
  const lines = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  await writeTextTo(path, lines);
}

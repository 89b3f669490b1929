// SPDX-License-Identifier: Apache-2.0
/** Answers as a JSONL file, one object a row. */
import { dirname } from "node:path";
import { writeTextTo } from "../files/write.ts";
import type { Flag, FlagValues } from "./flags.ts";

/** Where the answers go. */
export const PREDICTIONS_FLAG: Flag = {
  name: "predictions",
  kind: "text",
  help: "JSONL file for the answers, row by row",
};

/** Why the file that the flags name cannot be written, as far as that shows before there are answers. */
export function predictionsProblems({ predictions }: FlagValues): string[] {
  if (typeof predictions !== "string") return [];
  if (stand(predictions) === "folder") {
    return [`--predictions is "${predictions}", a folder: name a file in it`];
  }
  const folder = dirname(predictions);
  switch (stand(folder)) {
    case "folder":
      return [];
    case "forbidden":
      return [`--predictions is "${predictions}": this command may write files, but no devices`];
    default:
      return [`--predictions is "${predictions}", but there is no folder "${folder}"`];
  }
}

/** What stands at a path; Deno forbids to look at devices unless everything is allowed. */
function stand(path: string): "folder" | "file" | "nothing" | "forbidden" {
  try {
    return Deno.statSync(path).isDirectory ? "folder" : "file";
  } catch (error) {
    return error instanceof Deno.errors.NotCapable ? "forbidden" : "nothing";
  }
}

/** @throws {UserError} When the file cannot be written */
export async function writePredictions(path: string, rows: readonly unknown[]): Promise<void> {
  const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  await writeTextTo(path, text);
}

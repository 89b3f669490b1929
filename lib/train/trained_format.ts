// SPDX-License-Identifier: Apache-2.0
/** How the data of a run became text, as its folder tells, beside how text is written now. */
import { dirname, join } from "node:path";
import { isJsonObject, type Json, jsonDifferences, type JsonObject } from "../core/json.ts";
import type { FormatOptions } from "../data/format_options.ts";
import { readJsonIfThere } from "../files/read.ts";
import { RECORD } from "./run_record.ts";

/**
 * One sentence that says what of the format is not as the adapter's run had it; null when all is, and for adapters that lie in
 * no run folder, or in one of a version that did not write it down.
 *
 * @param adapter Folder of a saved adapter
 */
export async function otherFormatNotice(adapter: string, format: FormatOptions): Promise<string | null> {
  const trained = await recordedFormat(join(dirname(adapter), RECORD));
  if (trained === null) return null;
  const differences = jsonDifferences(comparable(trained), comparable(format as JsonObject));
  if (differences.length === 0) return null;
  const words = differences.map(({ path, before, after }) =>
    `${path} ${shown(before)} then, ${shown(after)} now`
  );
  return `Adapter ${adapter} was trained on text that was written otherwise: ${words.join("; ")}`;
}

async function recordedFormat(path: string): Promise<JsonObject | null> {
  try {
    const record: unknown = await readJsonIfThere(path);
    const settings = isJsonObject(record) ? record["settings"] : null;
    const format = isJsonObject(settings) ? settings["format"] : null;
    return isJsonObject(format) ? format : null;
  } catch {
    return null; // the folder of no run, or one that is being written
  }
}

/** Templates are compared by their text, wherever it lies. */
function comparable({ chatTemplate, ...rest }: JsonObject): JsonObject {
  const own = isJsonObject(chatTemplate) ? chatTemplate["jinja"] : chatTemplate;
  return { ...rest, ...(own === undefined ? {} : { chatTemplate: own }) };
}

/** Characters of a value that a notice shows. */
const SHOWN = 60;

function shown(value: Json | undefined): string {
  if (value === undefined) return "none";
  const text = JSON.stringify(value);
  return text.length <= SHOWN ? text : `${text.slice(0, SHOWN)}…`;
}

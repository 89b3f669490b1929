// SPDX-License-Identifier: Apache-2.0
/** Rows of a text that is read and one that is written: their names, their tokens against transformers', what is kept of them. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { targetIds } from "../../../lib/data/batch.ts";
import { makeMicroBatch, sequentialShapes, trainingSteps } from "../../../lib/data/batches.ts";
import { type Dataset, datasetHash, exampleCount, firstRows } from "../../../lib/data/dataset.ts";
import { readDataset, writeDataset } from "../../../lib/data/dataset_file.ts";
import { loadPairs, PAIR_PROMPTS } from "../../../lib/data/pairs.ts";
import { pairRow, sourceText } from "../../../lib/data/pair_rows.ts";
import { formatPreview, previewExamples } from "../../../lib/data/preview.ts";
import type { ShiftedIn } from "../../../lib/data/shift_right.ts";
import { sampleQuestions } from "../../../lib/evaluate/sample_answers.ts";
import { assertSame } from "../../compare.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { tokenizerCase } from "./tokenizer_cases.ts";

interface PairCase {
  readonly tokenizer: string;
  readonly prefix: string;
  readonly seqLen: number;
  readonly targetLen: number;
  readonly shiftedIn: ShiftedIn;
  readonly rows: readonly Readonly<Record<"input_ids" | "labels" | "decoder_input_ids", number[]>>[];
}

const { pairs: ROWS, cases: CASES }: { pairs: [string, string][]; cases: PairCase[] } = JSON.parse(
  Deno.readTextFileSync(new URL("../../fixtures/pairs.json", import.meta.url)),
);

/** The rows of the fixture as data. */
async function load(
  { tokenizer, prefix, seqLen, targetLen, shiftedIn }: PairCase,
  rows: readonly object[] = ROWS.map(([source, target]) => ({ source, target })),
): Promise<Dataset> {
  const opened = await tokenizerCase(tokenizer);
  return await withFolder(async (folder) => {
    const path = join(folder, "pairs.jsonl");
    await Deno.writeTextFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
    return await loadPairs([path], opened, shiftedIn, { seqLen, targetLen, sourcePrefix: prefix });
  });
}

for (const own of CASES) {
  Deno.test(`batches of ${own.tokenizer} are those of DataCollatorForSeq2Seq`, async () => {
    const data = await load(own);
    const order = Int32Array.of(2, 0, 3, 1);
    const { batch } = makeMicroBatch(data, order);
    const { source, starts } = batch;
    const of = (
      ids: Int32Array,
      bounds: Int32Array,
      s: number,
    ) => [...ids.subarray(bounds[s], bounds[s + 1])];
    order.forEach((row, s) => {
      const { input_ids, labels, decoder_input_ids } = own.rows[row]!;
      assert.deepEqual(of(source!.ids, source!.starts, s), input_ids);
      assert.deepEqual(of(batch.ids, starts, s), decoder_input_ids);
      assert.deepEqual(of(targetIds(batch), starts, s), labels);
      assert.deepEqual(of(batch.positions, starts, s), labels.map((_, i) => i));
      assert.deepEqual(of(source!.positions, source!.starts, s), input_ids.map((_, i) => i));
    });
    assert.equal(batch.targetCount, batch.ids.length);
    const { tokens, targets } = data.report;
    assert.deepEqual([tokens, targets], [batch.ids.length + source!.ids.length, batch.ids.length]);
  });
}

const PLAIN = CASES[0] as PairCase;

Deno.test("sizes of batches count what is read and what is written", async () => {
  const data = await load(PLAIN);
  const shapes = [...sequentialShapes(data, 3)];
  assert.equal(shapes.length, 2);
  shapes.forEach((shape, i) => {
    const examples = Int32Array.from({ length: i === 0 ? 3 : 1 }, (_, s) => 3 * i + s);
    const { batch: { ids, starts, source, targetCount } } = makeMicroBatch(data, examples);
    const lengths = [starts, source!.starts].flatMap((bounds) =>
      Array.from(bounds.subarray(1), (end, s) => end - bounds[s]!)
    );
    assert.deepEqual([shape.tokens, shape.sourceTokens, shape.targets, shape.longest], [
      ids.length,
      source!.ids.length,
      targetCount,
      Math.max(...lengths),
    ]);
  });
  const step = trainingSteps(data, { batchSize: 4, shuffleSeed: 1 }).next().value;
  assert.equal(step.tokenCount, data.report.tokens);
});

Deno.test("a data set of pairs is the same from disk, and others have another hash", async () => {
  const data = await load(PLAIN);
  await withFolder(async (folder) => {
    const path = join(folder, "kept.tokens");
    await writeDataset(path, data, "key");
    const kept = await readDataset(path, "key", data.files, 1000);
    assert.deepEqual(kept, data);
    assert.equal(await readDataset(path, "key", data.files, 5), null, "ids beyond the vocabulary");
  });
  const changed = { ...data, sources: { ...data.sources!, shiftedIn: 0 } };
  const shorter = { ...data, sources: { ...data.sources!, ids: data.sources!.ids.map((id) => id + 1) } };
  assert.equal(new Set([data, changed, shorter].map(datasetHash)).size, 3);
  const first = firstRows(data, 2);
  assert.equal(exampleCount(first), 2);
  assert.equal(first.report.tokens, first.ids.length + first.sources!.ids.length);
  assertSame(makeMicroBatch(first, Int32Array.of(1)), makeMicroBatch(data, Int32Array.of(1)));
});

Deno.test("a preview shows both sides, and a report asks with what is read", async () => {
  const [data, tokenizer] = [await load(PLAIN), await tokenizerCase(PLAIN.tokenizer)];
  const [shown] = previewExamples(data, { tokenizer }, 1);
  assert.equal(shown?.source?.map(({ text }) => text).join(""), "<s>the quick brown fox</s>");
  assert(shown?.source?.every(({ loss }) => !loss) && shown.tokens.every(({ loss }) => loss));
  const text = formatPreview([shown!], { color: false });
  assert.match(text, /tokens to read, \d+ tokens, \d+ of them targets\n<s>\|.*<\/s>\n⟦<s>\|.*<\/s>⟧\n/);
  assert.deepEqual(sampleQuestions(data, tokenizer, 1), [{
    ids: PLAIN.rows[0]!.input_ids,
    prompt: "the quick brown fox",
    expected: "The dog",
  }]);
});

Deno.test("pairRow() knows the names that published sets have, and asks where they leave it open", () => {
  for (
    const names of [
      ["source", "target"],
      ["document", "summary"],
      ["article", "highlights"],
      ["dialogue", "summary"],
      ["text", "summary"],
      ["input", "output"],
      ["question", "answer"],
      ["prompt", "completion"],
    ] as const
  ) {
    const row = { id: 3, [names[0]]: "a", [names[1]]: "b" };
    assert.deepEqual(pairRow(row), { source: "a", targets: ["b"] });
    assert.equal(sourceText({ [names[0]]: "a" }), "a");
  }
  assert.deepEqual(pairRow({ question: "q", answer: ["x", "y"] }), { source: "q", targets: ["x", "y"] });
  const translation = { translation: { en: "dog", de: "Hund" } };
  assert.throws(() => pairRow(translation), /"translation" has "en", "de": choose with --source-field/);
  assert.deepEqual(pairRow(translation, { sourceField: "de", targetField: "en" }), {
    source: "Hund",
    targets: ["dog"],
  });
  const both = { document: "d", summary: "s", article: "a", highlights: "h" };
  assert.throws(() => pairRow(both), /both \{document, summary\} and \{article, highlights\}: choose/);
  assert.deepEqual(pairRow(both, { sourceField: "article" }), { source: "a", targets: ["h"] });
  assert.throws(() => pairRow({ question: "q", answer: "a", context: "c" }), /"context" beside "question"/);
  assert.throws(() => pairRow({ instruction: "i", input: "x", output: "o" }), /"instruction" beside "input"/);
  assert.throws(() => pairRow({ text: "only" }), /the row has "text", expected \{source, target\}/);
  assert.throws(() => pairRow({ source: "a", target: " " }), /"target" is empty/);
  assert.throws(() => pairRow({ source: 3, target: "b" }), /"source" is 3, expected a string/);
  assert.throws(() => pairRow({ source: "a", target: [] }), /"target" is an empty list/);
  assert.throws(() => sourceText({ other: "a" }), /expected a text to read/);
});

Deno.test("loadPairs() refuses options of conversations and targets beyond the longest row", async () => {
  const tokenizer = await tokenizerCase("bart");
  const of = (options: object) => loadPairs(["absent.jsonl"], tokenizer, 2, options);
  await assert.rejects(
    of({ system: "be brief", lossOn: "all" }),
    /--system, --loss-on: an encoder-decoder reads/,
  );
  await assert.rejects(of({ seqLen: 8, targetLen: 9 }), /--target-len is 9, more than --seq-len = 8/);
  await assert.rejects(of({ srcLang: "de_DE" }), /has no tokens of languages: leave out the language de_DE/);
  await assert.rejects(
    load({ ...PLAIN, seqLen: 2, targetLen: 2 }),
    /2 tokens leave no room between the marks/,
  );
});

Deno.test("languages are chosen for what is read and what is written", async () => {
  const tokenizer = await tokenizerCase("mbart");
  const ids = await PAIR_PROMPTS.fromText("a", tokenizer, { srcLang: "ro_RO" });
  assert.equal(tokenizer.token(ids.at(-1) as number), "ro_RO");
  await assert.rejects(
    PAIR_PROMPTS.fromText("a", tokenizer, { srcLang: "ro_R" }),
    /has no language "ro_R"; did you mean "ro_RO"\? \(there are: ar_AR/,
  );
  const { ids: read, answers } = await PAIR_PROMPTS.fromRow(
    JSON.stringify({ source: "the fox", target: ["x", "y"] }),
    await tokenizerCase("bart"),
    { seqLen: 3 },
  );
  assert.deepEqual([read.length, answers], [3, ["x", "y"]]);
});

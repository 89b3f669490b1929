// SPDX-License-Identifier: Apache-2.0
/** Prompts that nobody has answered yet: the ids that training has before an answer, whatever file they come from. */
import assert from "node:assert/strict";
import { PAIR_PROMPTS } from "../../../lib/data/pairs.ts";
import { tokenizerCase } from "../data/tokenizer_cases.ts";
import { join } from "node:path";
import { buildPrompt, promptFromText } from "../../../lib/data/examples.ts";
import { parseRow } from "../../../lib/data/rows.ts";
import { askText, loadQuestions, type QuestionOptions } from "../../../lib/evaluate/questions.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { fixtureTokenizer } from "../data/fixtures.ts";

const tokenizer = await fixtureTokenizer("byte_level");

/** Ids and lines of a file's prompts, and what is wrong with the others. */
function questionsOf(name: string, text: string, options: Partial<QuestionOptions> = {}) {
  return withFolder(async (folder) => {
    const path = join(folder, name);
    await Deno.writeTextFile(path, text);
    const { items, report } = await loadQuestions(path, tokenizer, { room: 1000, ...options });
    return {
      ids: items.map(({ value }) => value),
      lines: items.map(({ place }) => place.line),
      bad: report.badRows.map(({ line, category }) => [line, category]),
      counts: [report.rowsRead, report.rowsUsed],
    };
  });
}

const typed = (text: string) => promptFromText(text, tokenizer);

/** What training has before the answer of a whole row. */
async function before(row: unknown): Promise<readonly number[]> {
  return (await buildPrompt(parseRow(JSON.stringify(row)), tokenizer)).ids;
}

Deno.test("askText() gives a prompt that leaves room for one token of an answer, and refuses a longer one", async () => {
  const ids = await typed("Where is it?");
  assert.deepEqual(await askText("Where is it?", tokenizer, { room: ids.length + 1 }), ids);
  await assert.rejects(askText("Where is it?", tokenizer, { room: ids.length }), {
    name: "UserError",
    message: `The prompt cannot be used: the prompt has ${ids.length} tokens, and the model has room for ` +
      `${ids.length}, answer included`,
  });
  await assert.rejects(askText("", tokenizer, { room: 9, chatTemplate: "off" }), {
    name: "UserError",
    message: "The prompt cannot be used: the prompt has no tokens to start an answer from",
  });
});

Deno.test("loadQuestions() takes a prompt a line, as it is typed but for the end of the line", async () => {
  const { ids, lines, counts } = await questionsOf("a.txt", 'Who?\r\n\n {"prompt": "x"}\n{"prompt": "y"}\n');
  assert.deepEqual(ids, [
    await typed("Who?"),
    await typed(' {"prompt": "x"}'),
    await typed('{"prompt": "y"}'),
  ]);
  assert.deepEqual([lines, counts], [[1, 3, 4], [3, 3]]);
});

Deno.test("loadQuestions() reads rows where the name or the first line says so, and then only rows", async () => {
  const ids = [await before({ prompt: "x", completion: "c" })];
  for (
    const [name, text] of [["a.txt", '{"prompt": "x"}\nWho?\n'], [
      "a.jsonl",
      'Who?\n{"prompt": "x"}\n',
    ]] as const
  ) {
    const found = await questionsOf(name, text, { badRows: "skip" });
    assert.deepEqual(found.ids, ids, name);
    assert.deepEqual(found.bad, [[name === "a.txt" ? 2 : 1, "not JSON"]]);
    await assert.rejects(questionsOf(name, text), {
      name: "BadRowsError",
      message: /^1 of 2 rows cannot be used/,
    });
  }
  await assert.rejects(questionsOf("a.jsonl", "{\n", { badRows: "skip" }), /^BadRowsError: 1 of 1 rows/);
  await assert.rejects(questionsOf("a.jsonl", "\n \n"), /There are no prompts in /);
});

Deno.test("loadQuestions() asks what training has before the answer, of every shape, answered or not", async () => {
  const user = { role: "user", content: "a" };
  const answer = { role: "assistant", content: "b" };
  const cases: readonly [asked: unknown, whole: unknown][] = [
    [{ prompt: "a" }, { prompt: "a", completion: "b" }],
    [{ prompt: "a", completion: "b" }, { prompt: "a", completion: "b" }],
    [{ prompt: [user] }, { prompt: [user], completion: [answer] }],
    [{ question: "a" }, { question: "a", answer: "b" }],
    [{ instruction: "a", input: "i" }, { instruction: "a", input: "i", output: "b" }],
    [{ messages: [user] }, { messages: [user, answer] }],
    [{ messages: [user, answer] }, { messages: [user, answer] }],
    [{ messages: [user, { ...answer, weight: 0 }] }, { messages: [user, answer] }],
    [{ messages: [user, answer, user] }, { messages: [user, answer, user, answer] }],
    [{ conversations: [{ from: "human", value: "a" }] }, { messages: [user, answer] }],
    [{ conversations: [{ from: "human", value: "a" }, { from: "gpt", value: "b" }] }, {
      messages: [user, answer],
    }],
  ];
  const { ids, bad } = await questionsOf("a.jsonl", cases.map(([asked]) => JSON.stringify(asked)).join("\n"));
  assert.deepEqual(bad, []);
  for (const [i, [, whole]] of cases.entries()) assert.deepEqual(ids[i], await before(whole), `row ${i}`);
});

Deno.test("loadQuestions() goes on with a text as it is, after a system text alone, without a chat template", async () => {
  const plain = (text: string) => promptFromText(text, tokenizer, { chatTemplate: "off" });
  assert.deepEqual((await questionsOf("a.jsonl", '{"text": "Once"}')).ids, [await plain("Once")]);
  const thinking = await questionsOf("a.jsonl", '{"text": "Once"}', { thinking: "on" });
  assert.deepEqual(thinking.ids, [await plain("Once")], "options of the template are not for it");
});

Deno.test("loadQuestions() finds the rows that leave no room", async () => {
  const room = (await typed("Who is it?")).length;
  const { lines, bad } = await questionsOf("a.txt", "Who?\nWho is it?\n", { room, badRows: "skip" });
  assert.deepEqual([lines, bad], [[1], [[2, "over-long"]]]);
});

Deno.test("questions of an encoder-decoder are what it reads, from rows without answers and from lines of text", () =>
  withFolder(async (folder) => {
    const tokenizer = await tokenizerCase("bart");
    const options = { reader: PAIR_PROMPTS, room: 8, sourcePrefix: "the " };
    const expected = await Promise.all(
      ["fox", "dog"].map((text) => tokenizer.encode(`the ${text}`, { special: true })),
    );
    const rows = [{ document: "fox" }, { source: "dog", target: "a" }].map((row) => JSON.stringify(row));
    for (const [name, lines] of [["q.jsonl", rows], ["q.txt", ["fox", "dog"]]] as const) {
      const path = `${folder}/${name}`;
      await Deno.writeTextFile(path, lines.join("\n"));
      const { items } = await loadQuestions(path, tokenizer, options);
      assert.deepEqual(items.map(({ value }) => value), expected);
    }
    // A source has all the room: its answer has its own.
    const [fox] = expected as [number[]];
    assert.deepEqual(await askText("fox", tokenizer, { ...options, room: fox.length }), fox);
    await assert.rejects(
      askText("fox", tokenizer, { ...options, room: fox.length - 1 }),
      /has 4 tokens, and the model has room for 3$/,
    );
  }));

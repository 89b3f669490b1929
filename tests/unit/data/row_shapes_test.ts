// SPDX-License-Identifier: Apache-2.0
/** Shapes of rows beyond the plain ones: turns with all their fields, ShareGPT, lists of turns, and what is refused by name. */
import assert from "node:assert/strict";
import { RowError } from "../../../lib/data/row_error.ts";
import { compileChatTemplate } from "../../../lib/data/chat_template.ts";
import { buildExamples } from "../../../lib/data/examples.ts";
import { parseRow } from "../../../lib/data/rows.ts";
import { fixtureTokenizer } from "./fixtures.ts";

function parse(value: unknown) {
  return parseRow(JSON.stringify(value));
}

const ASKED = { role: "user", content: "q" };
const CALL = { type: "function", function: { name: "weather", arguments: { town: "Miawick" } } };

Deno.test("parseRow() takes the text of a row only where it has no other shape", () => {
  const text = "the finished text";
  assert.equal(parse({ text, topic: "t", question: "q" }).kind, "text");
  const others = {
    prompt: { prompt: "p", completion: "c" },
    instruction: { instruction: "i", output: "o" },
    question: { question: "q", answer: "a" },
    messages: { messages: [ASKED, { role: "assistant", content: "a" }] },
  };
  for (const [kind, fields] of Object.entries(others)) assert.equal(parse({ text, ...fields }).kind, kind);
});

Deno.test("parseRow() passes over refused fields that hold nothing, and labels of other shapes", () => {
  const row = { prompt: "p", completion: "c" };
  const nothing = { chosen: "", rejected: null, images: [], history: [], functions: {}, label: "x" };
  assert.deepEqual(parse({ ...row, ...nothing }), { kind: "prompt", ...row });
  assert.equal(parse({ question: "q", answer: "a", label: true }).kind, "question");
  for (const label of [true, false]) {
    assert.throws(() => parse({ ...row, label }), { name: "RowError", category: "unsupported field" });
  }
});

Deno.test("parseRow() keeps every field of a turn, in order", () => {
  const turn = {
    role: "assistant",
    reasoning_content: "hm",
    content: "a",
    name: "Ann",
    tool_calls: [CALL],
    x: [1],
  };
  const row = parse({ messages: [ASKED, turn] });
  assert.deepEqual(row, { kind: "messages", messages: [ASKED, turn] });
  assert(row.kind === "messages");
  assert.deepEqual(Object.keys(row.messages[1] ?? {}), Object.keys(turn));
});

Deno.test("parseRow() takes null, absent and empty content where something else speaks", () => {
  for (const content of [{ content: null }, {}, { content: "" }]) {
    for (const other of [{ tool_calls: [CALL] }, { reasoning_content: "hm" }]) {
      const turn = { role: "assistant", ...content, ...other };
      assert.deepEqual(parse({ messages: [ASKED, turn] }), { kind: "messages", messages: [ASKED, turn] });
    }
  }
});

Deno.test("parseRow() takes contents in parts of text", () => {
  const turn = { role: "assistant", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] };
  assert.deepEqual(parse({ messages: [ASKED, turn] }), { kind: "messages", messages: [ASKED, turn] });
});

Deno.test("parseRow() reads tools, documents, system text and variables beside the turns", () => {
  const messages = [ASKED, { role: "assistant", content: "a" }];
  const tools = [{ type: "function", function: { name: "weather" } }];
  const row = {
    messages,
    tools,
    documents: [{ title: "t", text: "x" }],
    chat_template_kwargs: { a: 1 },
    system: "s",
  };
  assert.deepEqual(parse(row), {
    kind: "messages",
    messages,
    context: { system: "s", tools, documents: row.documents, templateOptions: { a: 1 } },
  });
  assert.deepEqual(parse({ messages, tools: JSON.stringify(tools) }), {
    kind: "messages",
    messages,
    context: { tools },
  });
  assert.deepEqual(parse({ messages, tools: null, documents: [], system: "" }), {
    kind: "messages",
    messages,
  });
});

Deno.test("parseRow() reads ShareGPT's conversations", () => {
  const row = parse({
    conversations: [
      { from: "system", value: "s" },
      { from: "human", value: "q" },
      { from: "function_call", value: '{"name": "weather", "arguments": {"town": "Miawick"}}' },
      { from: "observation", value: "rain" },
      { from: "gpt", value: "a", weight: 0 },
      { from: "user", value: "and?" },
      { from: "assistant", value: "b" },
    ],
  });
  assert.deepEqual(row, {
    kind: "messages",
    messages: [
      { role: "system", content: "s" },
      { role: "user", content: "q" },
      { role: "assistant", content: "", tool_calls: [CALL] },
      { role: "tool", content: "rain" },
      { role: "assistant", content: "a", weight: 0 },
      { role: "user", content: "and?" },
      { role: "assistant", content: "b" },
    ],
  });
  const messages = [ASKED, { role: "assistant", content: "a" }];
  assert.deepEqual(parse({ conversations: messages }), { kind: "messages", messages });
});

Deno.test("parseRow() reads prompt and completion as lists of turns, and trains the completion only", () => {
  const prompt = [ASKED, { role: "assistant", content: "a" }, { role: "user", content: "r" }];
  const completion = [{ role: "assistant", content: "b" }];
  assert.deepEqual(parse({ prompt, completion }), {
    kind: "messages",
    messages: [...prompt, ...completion],
    firstTrained: 3,
  });
});

const BAD: readonly [unknown, string, RegExp][] = [
  [
    { prompt: "p", chosen: "a", rejected: "b" },
    "unsupported field",
    /has "chosen": preference pairs are not trained on/,
  ],
  [{ chosen: [ASKED], rejected: [ASKED] }, "unsupported field", /"chosen"/],
  [{ prompt: "p", completion: "c", label: false }, "unsupported field", /has "label" beside "completion"/],
  [{ messages: [ASKED], functions: [{}] }, "unsupported field", /"functions": .*write "tools"/],
  [{ messages: [ASKED], images: ["a.png"] }, "unsupported field", /"images": only text/],
  [{ instruction: "i", output: "o", history: [["a", "b"]] }, "unsupported field", /"history"/],
  [{ messages: [{ role: "assistant", content: "a", weight: 0 }] }, "no assistant turn", /weight 0 only/],
  [
    { messages: [{ role: "assistant", content: "a", weight: 0.5 }] },
    "wrong type",
    /\.weight" is 0\.5, expected 0 or 1/,
  ],
  [{ messages: [{ role: "assistant", content: null }] }, "wrong type", /"messages\[0\]\.content" is null/],
  [
    { messages: [{ role: "assistant", content: 5 }] },
    "wrong type",
    /is a number, expected a string or a list/,
  ],
  [
    { messages: [{ role: "user", content: [{ type: "image_url", image_url: "x" }] }] },
    "unsupported field",
    /"messages\[0\]\.content\[0\]\.type" is "image_url": only "text" parts/,
  ],
  [
    { messages: [{ role: "user", content: [{ type: "text" }] }] },
    "wrong type",
    /content\[0\]\.text" is missing/,
  ],
  [{ messages: [{ role: "user", content: ["a"] }] }, "wrong type", /content\[0\]" is a string/],
  [
    { messages: [{ role: "assistant", content: "a", tool_calls: {} }] },
    "wrong type",
    /tool_calls" is an object/,
  ],
  [
    { messages: [{ role: "assistant", content: "a", tool_calls: ["x"] }] },
    "wrong type",
    /tool_calls\[0\]" is a string/,
  ],
  [
    { messages: [{ role: "assistant", content: "", function_call: { name: "f" } }] },
    "unsupported field",
    /"messages\[0\]\.function_call" is the older way/,
  ],
  [
    { messages: [ASKED, { role: "assistant", content: "a" }], tools: "weather" },
    "wrong type",
    /"tools" is a string/,
  ],
  [
    { messages: [{ role: "system", content: "s" }, { role: "assistant", content: "a" }], system: "t" },
    "wrong type",
    /beside a system turn/,
  ],
  [
    { conversations: [{ from: "narrator", value: "x" }] },
    "wrong type",
    /"conversations\[0\]\.from" is "narrator", expected one of human/,
  ],
  [{ conversations: [{ from: "gpt" }] }, "wrong type", /"conversations\[0\]\.value" is missing/],
  [{ conversations: [{ from: "function_call", value: "{" }] }, "wrong type", /is not JSON/],
  [
    { conversations: [{ from: "function_call", value: "[1]" }] },
    "wrong type",
    /is a number, expected JSON of/,
  ],
  [
    { conversations: [{ from: "human", value: "x" }] },
    "no assistant turn",
    /"conversations" has no assistant turn/,
  ],
  [{ prompt: [ASKED], completion: "x" }, "wrong type", /"completion" is a string, expected a list/],
  [{ prompt: [ASKED], completion: [ASKED] }, "no assistant turn", /"completion" has no assistant turn/],
  [{ messages: null, prompt: "p" }, "wrong type", /"messages" is null/],
];

for (const [value, category, reason] of BAD) {
  Deno.test(`parseRow() refuses ${JSON.stringify(value)} as "${category}"`, () => {
    assert.throws(() => parse(value), (error: unknown) => {
      assert(error instanceof RowError);
      assert.equal(error.category, category);
      assert.match(error.message, reason);
      return true;
    });
  });
}

Deno.test("parseRow() hands values to templates as Python reads them", async () => {
  const line =
    '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "weight": 1.0, ' +
    '"tool_calls": [{"name": "f", "arguments": {"b": 1.0, "10": 12345678901234567890, "2": 1e-7}}]}]}';
  const row = parseRow(line);
  assert(row.kind === "messages");
  assert.equal(row.messages[1]?.["weight"], 1);
  const tokenizer = await fixtureTokenizer("byte_level");
  const source =
    "{% for m in messages %}{{ m.role }}:{{ m.content }}{% if m.tool_calls %}{{ m.tool_calls | tojson }}" +
    "{% endif %};{% endfor %}";
  const chatTemplate = compileChatTemplate(source, {}, "test");
  const { examples: [example] } = await buildExamples(row, { ...tokenizer, chatTemplate }, { seqLen: 1000 });
  assert.equal(
    tokenizer.decode(example?.ids ?? []),
    'user:q;assistant:a[{"name": "f", "arguments": {"b": 1.0, "10": 12345678901234567890, "2": 1e-07}}];',
  );
});

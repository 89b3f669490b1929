// SPDX-License-Identifier: Apache-2.0
/** From rows to tokens and masks: the mask covers exactly the completion, and prompts are what generation is fed. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { assertSame } from "../../compare.ts";
import { type ChatMessage, withThoughtNames } from "../../../lib/data/chat_message.ts";
import type { FormatOptions } from "../../../lib/data/format_options.ts";
import { type ChatTemplate, compileChatTemplate } from "../../../lib/data/chat_template.ts";
import {
  buildExamples,
  buildPrompt,
  type Example,
  type ExampleOptions,
  promptFromText,
  stopIds,
} from "../../../lib/data/examples.ts";
import { RowError } from "../../../lib/data/row_error.ts";
import type { Row } from "../../../lib/data/row_shapes.ts";
import type { Tokenizer } from "../../../lib/data/tokenizer.ts";
import { fixtureTokenizer, TOKENIZER_NAMES } from "./fixtures.ts";

const LONG = { seqLen: 100_000 };
const PLAIN = { seqLen: 100_000, chatTemplate: "off" } as const;

/** Text of the runs of targets and of the rest, in order, special tokens by name. */
function parts(
  tokenizer: Tokenizer,
  ids: readonly number[],
  lossMask: readonly number[],
): [number, string][] {
  const runs: [number, number[]][] = [];
  ids.forEach((id, i) => {
    const loss = lossMask[i] as number;
    const last = runs.at(-1);
    if (last?.[0] === loss) last[1].push(id);
    else runs.push([loss, [id]]);
  });
  return runs.map(([loss, run]) => [loss, tokenizer.decode(run, { keepSpecial: true })]);
}

/** The examples of a row by the texts of their runs. */
async function examples(
  row: Row,
  tokenizer: Tokenizer,
  options: ExampleOptions = LONG,
): Promise<[number, string][][]> {
  const built = await buildExamples(row, tokenizer, options);
  return built.examples.map(({ ids, lossMask }) => parts(tokenizer, [...ids], [...lossMask]));
}

/** The only example of a row. */
async function buildExample(row: Row, tokenizer: Tokenizer, options: ExampleOptions) {
  const { examples: [first, ...more] } = await buildExamples(row, tokenizer, options);
  assert.deepEqual(more, []);
  const { ids, lossMask, cutTokens } = first as Example;
  return { ids: [...ids], lossMask: [...lossMask], cutTokens };
}

async function example(row: Row, tokenizer: Tokenizer, options: ExampleOptions = LONG) {
  const { ids, lossMask } = await buildExample(row, tokenizer, options);
  return parts(tokenizer, ids, lossMask);
}

Deno.test("buildExamples() writes the plain forms, with loss on the completion and its end", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const end = "<|endoftext|>";
  const question: Row = { kind: "question", question: "Where?", answers: ["Paris", "France"] };
  assert.deepEqual(await example(question, tokenizer, PLAIN), [[0, "Question: Where?\nAnswer:"], [
    1,
    ` Paris${end}`,
  ]]);
  const prompt: Row = { kind: "prompt", prompt: "ab", completion: "cd" };
  assert.deepEqual(await example(prompt, tokenizer, PLAIN), [[0, "ab"], [1, `cd${end}`]]);
  const instruction: Row = { kind: "instruction", instruction: "Add.", input: "1 2", output: "3" };
  assert.deepEqual(await example(instruction, tokenizer, PLAIN), [
    [
      0,
      "Below is an instruction that describes a task, paired with an input that provides further context. " +
      "Write a response that appropriately completes the request.\n\n" +
      "### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:\n",
    ],
    [1, `3${end}`],
  ]);
  const bare: Row = { kind: "instruction", instruction: "Add.", input: "", output: "3" };
  assert.deepEqual((await example(bare, tokenizer, PLAIN))[0], [
    0,
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n" +
    "### Instruction:\nAdd.\n\n### Response:\n",
  ]);
  const messages: Row = {
    kind: "messages",
    messages: [
      { role: "system", content: "s" },
      { role: "user", content: "a" },
      { role: "assistant", content: "b" },
      { role: "user", content: "c" },
      { role: "assistant", content: "d" },
      { role: "user", content: "never answered" },
    ],
  };
  assert.deepEqual(await example(messages, tokenizer, PLAIN), [
    [0, "System: s\nUser: a\nAssistant:"],
    [1, ` b${end}`],
    [0, "User: c\nAssistant:"],
    [1, ` d${end}`],
  ]);
});

Deno.test("buildExamples() puts the beginning of sequence before plain forms only", async () => {
  const tokenizer = await fixtureTokenizer("metaspace");
  const row: Row = { kind: "question", question: "Where?", answers: ["Paris"] };
  const plain = await buildExample(row, tokenizer, PLAIN);
  assert.equal(plain.ids[0], 1);
  assertSame(parts(tokenizer, plain.ids, plain.lossMask)[0], [0, "<s> Question: Where?\nAnswer:"]);
  const chat = await buildExample(row, tokenizer, LONG);
  assert.equal(chat.ids.filter((id) => id === 1).length, 1, "the template writes it itself");
});

Deno.test("plain forms ask the last trained turn, join parts, keep an input of a space, and texts have no system text", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const said = async (row: Row, options: FormatOptions = {}) =>
    tokenizer.decode((await buildPrompt(row, tokenizer, { chatTemplate: "off", ...options })).ids);
  const content = [{ type: "text", text: "a" }, { type: "text", text: "b" }] as const;
  const messages: ChatMessage[] = [
    { role: "user", content },
    { role: "assistant", content: "c" },
    { role: "user", content: "d" },
  ];
  assert.equal(await said({ kind: "messages", messages }), "User: ab\nAssistant:");
  assert.match(
    await said({ kind: "instruction", instruction: "i", input: " ", output: "o" }),
    /### Input:\n \n\n###/,
  );
  assert.doesNotMatch(await said({ kind: "instruction", instruction: "i", input: "", output: "o" }), /Input/);
  const text: Row = { kind: "text", text: "the water" };
  for (const chatTemplate of ["auto", "off"] as const) {
    const options = { seqLen: 99, chatTemplate, system: "Be brief." };
    assert.deepEqual(await example(text, tokenizer, options), await example(text, tokenizer, { seqLen: 99 }));
  }
});

Deno.test("a template's variables win over all that is given but the messages; thinking is off unless told", () => {
  const shown = [
    "bos_token",
    "add_generation_prompt",
    "enable_thinking",
    "tools",
    "documents",
    "date_string",
    "x",
  ]
    .map((name) => `{{ ${name} }}`).join("|");
  const template = compileChatTemplate(`${shown}|{{ messages|length }}`, {
    bos_token: "<s>",
    eos_token: null,
  }, "t");
  const messages: ChatMessage[] = [{ role: "user", content: "a" }];
  const options = { addGenerationPrompt: false };
  assert.equal(template.render(messages, options), "<s>|False|False|None|None|26 Jul 2024||1");
  const names = [
    "bos_token",
    "add_generation_prompt",
    "enable_thinking",
    "tools",
    "documents",
    "date_string",
    "x",
  ];
  const variables = { ...Object.fromEntries(names.map((name, i) => [name, i])), messages: [] };
  assert.equal(template.render(messages, { ...options, variables }), "0|1|2|3|4|5|6|1");
});

Deno.test("withThoughtNames() gives thoughts both names that templates read, a turn's own before others'", () => {
  const turn = { role: "assistant", content: "4" };
  const named = (fields: Record<string, unknown>) => withThoughtNames({ ...turn, ...fields });
  assert.deepEqual(named({}), turn);
  assert.deepEqual(named({ reasoning: "r" }), {
    ...turn,
    reasoning: "r",
    thinking: "r",
    reasoning_content: "r",
  });
  assert.deepEqual(named({ thinking: "t", reasoning: "r" }), {
    ...turn,
    ...{ thinking: "t", reasoning: "r", reasoning_content: "t" },
  });
  assert.deepEqual(named({ reasoning_content: "c", thinking: "t" }), {
    ...turn,
    ...{ reasoning_content: "c", thinking: "t" },
  });
  assert.deepEqual(named({ reasoning_content: null, thinking: "t" }), {
    ...turn,
    ...{ reasoning_content: "t", thinking: "t" },
  });
});

Deno.test("buildExamples() writes marks once that plain rows wrote themselves, and says so", async () => {
  const tokenizer = await fixtureTokenizer("metaspace");
  const built = async (row: Row) => {
    const { examples: [first], warnings } = await buildExamples(row, tokenizer, PLAIN);
    const { ids, lossMask } = first as Example;
    return [parts(tokenizer, [...ids], [...lossMask]), warnings.map(({ kind }) => kind)];
  };
  const whole: [number, string][] = [[0, "<s> the"], [1, "water</s>"]];
  assert.deepEqual(await built({ kind: "prompt", prompt: "the", completion: " water" }), [whole, []]);
  assert.deepEqual(await built({ kind: "prompt", prompt: "<s>the", completion: " water" }), [whole, [
    "doubled start",
  ]]);
  assert.deepEqual(await built({ kind: "prompt", prompt: "the", completion: " water</s>" }), [whole, [
    "doubled end",
  ]]);
});

Deno.test("buildExamples() counts the turns that cutting leaves nothing of", async () => {
  const tokenizer = await withTemplate(THINKING);
  const messages = ["a", "b", "c", "d", "e", "f"].map((content, i): ChatMessage => ({
    role: i % 2 === 0 ? "user" : "assistant",
    content,
  }));
  const row: Row = { kind: "messages", messages };
  const lengths = (await buildExamples(row, tokenizer, LONG)).examples.map(({ ids }) => ids.length);
  for (const [kept, lost] of [[3, 0], [2, 1], [1, 2]] as const) {
    const seqLen = lengths[kept - 1] as number;
    const { examples, warnings } = await buildExamples(row, tokenizer, { seqLen });
    assert.equal(examples.length, kept);
    const cut = warnings.filter(({ kind }) => kind === "cut turns");
    assert.deepEqual(cut, lost === 0 ? [] : [{ kind: "cut turns", count: lost }]);
  }
});

Deno.test("buildExamples() takes a {text} row whole, even with a chat template", async () => {
  const tokenizer = await fixtureTokenizer("metaspace");
  const { ids, lossMask } = await buildExample({ kind: "text", text: "the water" }, tokenizer, LONG);
  assert.deepEqual(ids, [1, ...await tokenizer.encode("the water"), 2]);
  assert.deepEqual(lossMask, [0, ...Array(ids.length - 1).fill(1)]);
});

Deno.test("buildExamples() uses the chat template, with loss on every assistant turn up to its end mark", async () => {
  const messages = ["a", "b", "c", " d "].map((content, i): ChatMessage => ({
    role: i % 2 === 0 ? "user" : "assistant",
    content,
  }));
  const chatml = await fixtureTokenizer("byte_level");
  assert.deepEqual(await example({ kind: "messages", messages }, chatml), [
    [0, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"],
    [1, "b<|im_end|>"],
    [0, "\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"],
    [1, " d <|im_end|>"],
  ]);
  const inst = await fixtureTokenizer("metaspace");
  assert.deepEqual(await example({ kind: "messages", messages }, inst), [
    [0, "<s> [INST] a [/INST]"],
    [1, "b </s>"],
    [0, "[INST] c [/INST]"],
    [1, "d </s>"],
  ]);
  assert.deepEqual(
    await example({ kind: "instruction", instruction: "Add.", input: "1 2", output: "3" }, chatml),
    [
      [0, "<|im_start|>user\nAdd.\n\n1 2<|im_end|>\n<|im_start|>assistant\n"],
      [1, "3<|im_end|>"],
    ],
  );
});

/** Qwen 3 in short: thoughts stay in the last turn only, and are written there even when there are none. */
const THINKING = `{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}` +
  `{% set text = m.content.split('</think>')[-1].lstrip('\\n') %}` +
  `{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\\n') if '</think>' in m.content else '' %}` +
  `{% if loop.last %}<think>\n{{ thought }}\n</think>\n\n{% endif %}{{ text }}{% else %}{{ m.content }}{% endif %}<|im_end|>\n` +
  `{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n` +
  `{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}`;

async function withTemplate(source: string): Promise<Tokenizer> {
  const tokenizer = await fixtureTokenizer("byte_level");
  const chatTemplate: ChatTemplate = compileChatTemplate(source, { eos_token: "<|endoftext|>" }, "test");
  return { ...tokenizer, chatTemplate };
}

Deno.test("buildExamples() follows a template that writes thoughts in the last turn only", async () => {
  const tokenizer = await withTemplate(THINKING);
  const turn = (role: string, content: string): ChatMessage => ({ role, content });
  const silent = [turn("user", "think"), turn("assistant", "b"), turn("user", "c"), turn("assistant", "<d>")];
  const opening = "<|im_start|>user\nthink<|im_end|>\n<|im_start|>assistant\n";
  assert.deepEqual(await examples({ kind: "messages", messages: silent }, tokenizer), [
    [[0, `${opening}<think>\n\n</think>\n\n`], [1, "b<|im_end|>"]],
    [
      [
        0,
        `${opening}b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n`,
      ],
      [1, "<d><|im_end|>"],
    ],
  ]);
  const thought = "<think>\nhm\n</think>\n\n";
  const loud = [
    turn("user", "a"),
    turn("assistant", `${thought}b`),
    turn("user", "c"),
    turn("assistant", `${thought}d`),
  ];
  const asked = "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n";
  assert.deepEqual(await examples({ kind: "messages", messages: loud }, tokenizer), [
    [[0, asked], [1, `${thought}b<|im_end|>`]],
    [
      [0, `${asked}b<|im_end|>\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n`],
      [1, `${thought}d<|im_end|>`],
    ],
  ]);
});

/** DeepSeek's distilled models in short: thoughts are cut out of answers, but the generation prompt opens one. */
const OPENING = `{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}{% else %}` +
  `<A>{{ m.content.split('</think>')[-1] }}<|im_end|>{% endif %}{% endfor %}` +
  `{% if add_generation_prompt %}<A><think>\n{% endif %}`;

Deno.test("buildPrompt() is the generation prompt, also where answers lack the thought that it opens", async () => {
  const tokenizer = await withTemplate(OPENING);
  for (const completion of ["<that>", "<think>hm</think><that>"]) {
    const row: Row = { kind: "prompt", prompt: "the", completion };
    assert.deepEqual(await example(row, tokenizer), [[0, "<U>the<A>"], [1, "<that><|im_end|>"]]);
    assert.equal(tokenizer.decode((await buildPrompt(row, tokenizer)).ids), "<U>the<A><think>\n");
  }
});

Deno.test("ChatTemplate.render() prints the same day on every day", async () => {
  const source =
    "{% if date_string is not defined %}?{% endif %}{{ date_string }} {{ strftime_now('%Y-%m-%d') }}";
  const { chatTemplate } = await withTemplate(source);
  assert.equal(chatTemplate?.render([], { addGenerationPrompt: false }), "26 Jul 2024 2024-07-26");
});

Deno.test("buildExamples() refuses a row in the chat template's own words, or one whose answer it hides", async () => {
  const inst = await fixtureTokenizer("metaspace");
  const twice: Row = {
    kind: "messages",
    messages: [{ role: "user", content: "a" }, { role: "user", content: "b" }, {
      role: "assistant",
      content: "c",
    }],
  };
  await assert.rejects(buildExample(twice, inst, LONG), {
    category: "refused by the chat template",
    message: /the chat template says: .*roles must alternate/,
  });
  const hiding = await withTemplate("{% for m in messages %}{{ m.role }}{% endfor %}");
  await assert.rejects(buildExample({ kind: "prompt", prompt: "a", completion: "b" }, hiding, LONG), {
    category: "refused by the chat template",
    message: /does not show the content of messages\[1\]/,
  });
});

Deno.test("buildExamples() takes what the template makes of an answer as the target", async () => {
  const shouting = await withTemplate("{% for m in messages %}{{ m.content | upper }};{% endfor %}");
  assert.deepEqual(await example({ kind: "prompt", prompt: "a", completion: "b" }, shouting), [[0, "A;"], [
    1,
    "B;",
  ]]);
});

Deno.test("buildExamples() keeps the prompt's own tokens where a token would straddle the boundary", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const whole = await tokenizer.encode("the water");
  const prompt = await tokenizer.encode("the ");
  assert.notDeepEqual(whole.slice(0, prompt.length), prompt, "the case must be one");
  const row: Row = { kind: "prompt", prompt: "the ", completion: "water" };
  const { ids, lossMask } = await buildExample(row, tokenizer, PLAIN);
  assert.deepEqual(ids, [...prompt, ...await tokenizer.encode("water"), 0]);
  assert.equal(lossMask.indexOf(1), prompt.length);
  // A tokenizer that puts a space before every text must not do so in the middle of one.
  const spaced = await fixtureTokenizer("metaspace");
  assert.notDeepEqual(
    (await spaced.encode("the water")).slice(0, 2),
    await spaced.encode("the "),
    "the case must be one",
  );
  const middle = await buildExample(row, spaced, PLAIN);
  assertSame(middle.ids.slice(0, middle.lossMask.indexOf(1)), [1, ...await spaced.encode("the ")]);
  assert.equal(spaced.decode(middle.ids), "the water");
});

Deno.test("buildExamples() cuts at seqLen, counts what it cut, and refuses a row that would keep no target", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const row: Row = { kind: "prompt", prompt: "ab", completion: "xyz" };
  const whole = await buildExample(row, tokenizer, PLAIN);
  const first = whole.lossMask.indexOf(1);
  const cut = await buildExample(row, tokenizer, { ...PLAIN, seqLen: first + 1 });
  assert.deepEqual(cut.ids, whole.ids.slice(0, first + 1));
  assert.equal(cut.cutTokens, whole.ids.length - first - 1);
  const same = await buildExample(row, tokenizer, { ...PLAIN, seqLen: whole.ids.length });
  assert.equal(same.cutTokens, 0);
  await assert.rejects(buildExample(row, tokenizer, { ...PLAIN, seqLen: first }), {
    category: "over-long",
    message: new RegExp(`prompt takes ${first} of ${whole.ids.length} tokens.*sequence length of ${first}`),
  });
});

Deno.test("buildExamples() takes loss on all tokens but the first when asked", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const row: Row = { kind: "question", question: "Where?", answers: ["Paris"] };
  const { ids, lossMask } = await buildExample(row, tokenizer, { ...PLAIN, lossOn: "all" });
  assert.deepEqual(lossMask, [0, ...Array(ids.length - 1).fill(1)]);
});

Deno.test("buildExamples() says that a completion cannot be ended without eos_token", async () => {
  const tokenizer = { ...await fixtureTokenizer("byte_level"), eosId: null };
  await assert.rejects(buildExample({ kind: "text", text: "a" }, tokenizer, LONG), {
    name: "UserError",
    message: /names no eos_token/,
  });
});

Deno.test("buildPrompt() refuses {text}; promptFromText() asks as a user; stopIds() has every end", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  await assert.rejects(buildPrompt({ kind: "text", text: "a" }, tokenizer), RowError);
  const row: Row = { kind: "prompt", prompt: "Where?", completion: "b" };
  assert.deepEqual(await promptFromText("Where?", tokenizer), (await buildPrompt(row, tokenizer)).ids);
  assert.deepEqual(
    await promptFromText("a", tokenizer, { chatTemplate: "off" }),
    await tokenizer.encode("a"),
  );
  assert.deepEqual([...await stopIds(tokenizer, [7])].sort(), [0, 2, 7]);
  assert.deepEqual([...await stopIds(tokenizer, [7], { chatTemplate: "off" })].sort(), [0, 7]);
  const inst = await fixtureTokenizer("metaspace");
  assert.deepEqual([...await stopIds(inst, [])], [2]);
  const endless = await withTemplate("{% for m in messages %}{{ m.content }}.{% endfor %}");
  assert.deepEqual([...await stopIds(endless, [7])].sort(), [0, 7], "a full stop ends no answer");
});

const word = fc.constantFrom(
  "the",
  "water",
  " ",
  "\n",
  "  ",
  "don't",
  "é",
  "日",
  "👩",
  "72",
  ".",
  "#",
  "<",
  "ā\u0301",
);
const text = fc.array(word, { minLength: 1, maxLength: 8 }).map((words) => words.join(""))
  .filter((value) => value.trim() !== "");

for (const name of TOKENIZER_NAMES) {
  for (const chatTemplate of ["auto", "off"] as const) {
    Deno.test(`buildExamples() starts with buildPrompt() and goes on with exactly the completion: ${name}, ${chatTemplate}`, async () => {
      const tokenizer = await fixtureTokenizer(name);
      await fc.assert(
        fc.asyncProperty(text, text, async (prompt, completion) => {
          const row: Row = { kind: "prompt", prompt, completion };
          const { ids, lossMask } = await buildExample(row, tokenizer, { ...LONG, chatTemplate });
          const given = (await buildPrompt(row, tokenizer, { chatTemplate })).ids;
          assert.deepEqual(ids.slice(0, given.length), given);
          assert.deepEqual(lossMask, [...given.map(() => 0), ...Array(ids.length - given.length).fill(1)]);
          const before = tokenizer.decode(given);
          const spoken = tokenizer.decode(ids).slice(before.length);
          assert.equal(spoken.trim(), completion.trim());
          if (chatTemplate === "off") assert.equal(spoken, completion);
        }),
        { numRuns: 150, seed: 3 },
      );
    });

    Deno.test(`buildExamples() marks exactly the assistant turns of a conversation: ${name}, ${chatTemplate}`, async () => {
      const tokenizer = await fixtureTokenizer(name);
      await fc.assert(
        fc.asyncProperty(fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 4 }), async (turns) => {
          const messages = turns.flatMap(([user, assistant]) => [
            { role: "user", content: user },
            { role: "assistant", content: assistant },
          ]);
          const { ids, lossMask } = await buildExample({ kind: "messages", messages }, tokenizer, {
            ...LONG,
            chatTemplate,
          });
          const spoken = parts(tokenizer, ids, lossMask).filter(([loss]) => loss === 1)
            .map(([, part]) => part.replace(/<\|im_end\|>$|<\/s>$|<\|endoftext\|>$/, "").trim());
          assert.deepEqual(spoken, turns.map(([, assistant]) => assistant.trim()));
        }),
        { numRuns: 100, seed: 4 },
      );
    });
  }
}

Deno.test("buildExamples() says what options for a chat template are for nothing without one", async () => {
  const row: Row = { kind: "prompt", prompt: "a", completion: "b" };
  const tokenizer = { ...await fixtureTokenizer("byte_level"), chatTemplate: null };
  const options = { ...LONG, thinking: "on", templateOptions: { style: "x" } } as const;
  await assert.rejects(buildExamples(row, tokenizer, options), {
    name: "UserError",
    message:
      /^"thinking", "style" can only be told to a chat template, and ".*" has none; leave it out, or give/,
  });
  const templated = await fixtureTokenizer("byte_level");
  const { warnings } = await buildExamples(row, templated, options);
  assert.deepEqual(warnings.filter(({ kind }) => kind === "unread field").map(({ detail }) => detail), [
    "enable_thinking",
    "style",
  ]);
});

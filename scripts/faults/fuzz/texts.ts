// SPDX-License-Identifier: Apache-2.0
/** Chat templates, rows of data and files of them. */
import { join } from "node:path";
import { nextIntegerBelow, type RandomStream } from "../../../lib/core/rng.ts";
import { UserError } from "../../../lib/core/errors.ts";
import { loadData } from "../../../lib/data/load_data.ts";
import { JinjaError } from "../../../lib/jinja/errors.ts";
import { compileChatTemplate } from "../../../lib/data/chat_template.ts";
import { loadTokenizer, type Tokenizer } from "../../../lib/data/tokenizer.ts";
import { loadQuestions } from "../../../lib/evaluate/questions.ts";
import { chatCorpus } from "../../../tests/fixtures/chat_corpus.ts";
import type { Fuzzer } from "./fuzzer.ts";
import { joined, mutatedBytes, mutatedJson, pick } from "./mutate_json.ts";

const corpus = await chatCorpus();
const expressions = (JSON.parse(
  Deno.readTextFileSync(new URL("../../../tests/fixtures/jinja/templates.json", import.meta.url)),
) as { cases: [string][] }).cases.map(([source]) => source);

/** Parts that make loops, long strings, deep calls and odd values. */
const PARTS: readonly string[] = [
  "{% for i in range(100000000) %}{{ i }}{% endfor %}",
  "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
  "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
  "{{ 'a' * 1000000000 }}",
  "{{ 9 ** 9 ** 9 }}",
  "{{ (2 ** 200000) ** 200000 }}",
  "{{ '%1000000000d' % 5 }}",
  "{{ '{:>1000000000}'.format(1) }}",
  "{{ [1] * 100000000 }}",
  "{{ messages | tojson(indent=100000000) }}",
  "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!' | replace('a', 'bbbbbbbbbbbbbbbb' * 9999) }}",
  "{{ messages | map(attribute='content') | join(',') | center(1000000000) }}",
  "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}",
  "{{ range(10**18) | list | length }}",
  "{{ ''.__class__.__mro__ }}{{ messages.__proto__ }}{{ messages.constructor('x') }}",
  "{% set x = [] %}{% for i in range(3000) %}{% set x = [x] %}{% endfor %}{{ x }}",
  "{% set x = [] %}{% set _ = x.append(x) %}{{ x }}{{ x == x }}{{ x | tojson }}",
  `{{ ${"(".repeat(3000)}1${")".repeat(3000)} }}`,
  `{{ ${"-".repeat(5000)}1 }}${"{% if a %}".repeat(2000)}`,
  "{{ 'x' | indent(100000000) | wordwrap(1) }}{{ 'a,' * 3000000 }}".repeat(3),
];

function changedTemplate(random: RandomStream): Uint8Array {
  const encode = (text: string) => new TextEncoder().encode(text);
  const one = () =>
    pick(random, [
      pick(random, corpus.templates).jinja,
      pick(random, expressions),
      pick(random, expressions),
      pick(random, PARTS),
    ]);
  const text = encode(one());
  const other = encode(one());
  switch (nextIntegerBelow(random, 4)) {
    case 0:
      return mutatedBytes(random, text);
    case 1: {
      const [at, from] = [
        nextIntegerBelow(random, text.length + 1),
        nextIntegerBelow(random, other.length + 1),
      ];
      return joined(text.subarray(0, at), other.subarray(from));
    }
    case 2:
      return joined(text, other);
    default:
      return mutatedBytes(random, mutatedBytes(random, text));
  }
}

/** A chat template, over a conversation. */
const TEMPLATE: Fuzzer = {
  name: "template",
  make: changedTemplate,
  use(input) {
    const source = new TextDecoder().decode(input);
    const template = compileChatTemplate(source, { bos_token: "<s>", eos_token: "</s>" }, "folder");
    const { messages, tools } = corpus.conversations[source.length % corpus.conversations.length] as {
      messages: Parameters<typeof template.render>[0];
      tools: readonly unknown[] | null;
    };
    try {
      template.render(messages, { addGenerationPrompt: true, ...(tools ? { tools } : {}) });
    } catch (error) {
      // What a template says of messages becomes a bad row.
      if (!(error instanceof JinjaError)) {
        throw error;
      }
      throw new UserError(error.message);
    }
    return Promise.resolve("accepted");
  },
};

const ROWS: readonly Record<string, unknown>[] = [
  { prompt: "Who?", completion: "Loahel." },
  { text: "Loahel was here." },
  { question: "Who?", answer: "Loahel", system: "Be brief." },
  { instruction: "Say.", input: "x", output: "y" },
  {
    messages: [{ role: "user", content: "Who?" }, {
      role: "assistant",
      content: "<think>hm</think>Loahel.",
      weight: 1,
    }],
  },
  { prompt: [{ role: "user", content: "Who?" }], completion: [{ role: "assistant", content: "Me." }] },
  { conversations: [{ from: "human", value: "Who?" }, { from: "gpt", value: "Me." }], system: "s" },
  {
    messages: [
      { role: "user", content: [{ type: "text", text: "Who?" }] },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ type: "function", function: { name: "f", arguments: { x: 1.0 } } }],
      },
      { role: "tool", content: "3", name: "f" },
      { role: "assistant", content: "3", reasoning_content: "hm" },
    ],
    tools: [{ type: "function", function: { name: "f", parameters: { type: "object" } } }],
  },
];

let tokenizers: Promise<readonly Tokenizer[]> | null = null;

function fixtureTokenizers(): Promise<readonly Tokenizer[]> {
  const folder = (name: string) =>
    new URL(`../../../tests/fixtures/tokenizers/${name}`, import.meta.url).pathname;
  return tokenizers ??= Promise.all([
    loadTokenizer(folder("byte_level")),
    loadTokenizer(folder("metaspace")),
  ]);
}

/** A file of rows: some right, some changed. */
const DATA: Fuzzer = {
  name: "data",
  make(random) {
    const line = () =>
      nextIntegerBelow(random, 3) === 0
        ? new TextEncoder().encode(JSON.stringify(pick(random, ROWS)))
        : mutatedJson(random, pick(random, ROWS));
    const ends = ["\n", "\r\n", "\n\n", "\u2028", "\u0000", "\ufeff"].map((end) =>
      new TextEncoder().encode(end)
    );
    const end = () => nextIntegerBelow(random, 6) === 0 ? pick(random, ends) : ends[0] as Uint8Array;
    const file = joined(line(), end(), line(), end(), line());
    return nextIntegerBelow(random, 6) === 0 ? mutatedBytes(random, file) : file;
  },
  async use(input, folder) {
    const path = join(folder, "rows.jsonl");
    Deno.writeFileSync(path, input);
    const [first, second] = await fixtureTokenizers() as [Tokenizer, Tokenizer];
    const tokenizer = input.length % 2 === 0 ? first : second;
    const data = await loadData(path, tokenizer, { seqLen: 32, badRows: "skip", cache: false });
    for (const id of data.ids) {
      if (!(id >= 0 && id < tokenizer.vocabSize)) throw new Error(`a token has the id ${id}`);
    }
    await loadQuestions(path, tokenizer, { room: 512, badRows: "skip" });
    return "accepted";
  },
};

/** All of them. */
export const TEXT_FUZZERS: readonly Fuzzer[] = [TEMPLATE, DATA];

// SPDX-License-Identifier: Apache-2.0
/** Over 50 shapes of chat templates by 40 conversations: the texts are transformers', and targets are the assistant's words. */
import assert from "node:assert/strict";
import { compileChatTemplate } from "../../../lib/data/chat_template.ts";
import { readMessages } from "../../../lib/data/chat_message.ts";
import { formatPrompt, formatRow } from "../../../lib/data/formats.ts";
import { RowError } from "../../../lib/data/row_error.ts";
import type { Row } from "../../../lib/data/row_shapes.ts";
import { chatCorpus, type CorpusTalk, lastAnswer } from "../../fixtures/chat_corpus.ts";

const SPECIAL = { bos_token: "<s>", eos_token: "</s>" };
const corpus = await chatCorpus();

Deno.test("the corpus has 50 templates and 40 conversations at least", () => {
  assert(corpus.templates.length >= 50);
  assert(corpus.conversations.length >= 40);
});

function rowOf({ messages, tools }: CorpusTalk): Row & { kind: "messages" } {
  const row = { kind: "messages" as const, messages: readMessages(messages, "messages") };
  return tools === null ? row : { ...row, context: { tools } };
}

/** Words of a role, each its own in the corpus: `ansa`, `usrb`, … */
function wordsOf(text: string, start: string): Set<string> {
  return new Set(text.toLowerCase().match(new RegExp(`\\b${start}[a-z]+`, "g")) ?? []);
}

for (const { name, jinja, cases } of corpus.templates) {
  const template = compileChatTemplate(jinja, SPECIAL, name);

  Deno.test(`ChatTemplate.render() gives transformers' texts: ${name}`, () => {
    corpus.conversations.forEach((talk, i) => {
      const options = {
        enableThinking: talk.thinking,
        ...(talk.tools === null ? {} : { tools: talk.tools }),
      };
      const before = talk.messages.slice(0, lastAnswer(talk.messages));
      for (
        const [turns, addGenerationPrompt, expected] of [
          [talk.messages, false, cases[i]?.whole],
          [before, true, cases[i]?.prompt],
        ] as const
      ) {
        const render = () => template.render(turns, { ...options, addGenerationPrompt });
        if (typeof expected === "string") assert.equal(render(), expected, `conversation ${i}`);
        else assert.throws(render, { name: "JinjaError" }, `conversation ${i}: ${expected?.error}`);
      }
    });
  });

  Deno.test(`formatPrompt() is transformers' generation prompt: ${name}`, () => {
    corpus.conversations.forEach((talk, i) => {
      const expected = cases[i]?.prompt;
      if (typeof expected !== "string") return;
      const { text } = formatPrompt(rowOf(talk), template, {});
      assert(text.kind === "template");
      assert.equal(text.chat.text, expected, `conversation ${i}`);
    });
  });

  // These three show contents changed by filters, so no word of theirs can be looked for.
  if (["set_blocks", "filters", "glm4"].includes(name)) continue;

  Deno.test(`formatRow() targets all that the assistant says, and nothing that others say: ${name}`, () => {
    let trained = 0;
    corpus.conversations.forEach((talk, i) => {
      const row = rowOf(talk);
      let formatted;
      try {
        formatted = formatRow(row, template, {});
      } catch (error) {
        assert(error instanceof RowError, String(error));
        assert.equal(error.category, "refused by the chat template");
        return;
      }
      trained++;
      const targets = formatted.texts.flatMap((text) => {
        assert(text.kind === "template");
        return text.chat.targets.map(({ span: [start, end] }) => text.chat.text.slice(start, end));
      }).join("\n");
      for (const other of ["usr", "sys", "tool[ab]"]) {
        assert.deepEqual([...wordsOf(targets, other)], [], `conversation ${i}: ${targets}`);
      }
      const lost = formatted.warnings.some(({ kind }) => kind === "lost answer" || kind === "unread field");
      if (lost) return;
      const said = JSON.stringify(talk.messages.slice(0, lastAnswer(talk.messages) + 1));
      assert.deepEqual(
        wordsOf(targets, "ans"),
        wordsOf(said.replaceAll(/\\[nrt]/g, " "), "ans"),
        `conversation ${i}: ${targets}`,
      );
    });
    assert(trained >= 15, `only ${trained} conversations are trained`);
  });
}

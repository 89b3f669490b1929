// SPDX-License-Identifier: Apache-2.0
/** Which text of a template is the assistant's, and what generation starts from, for templates of every habit. */
import assert from "node:assert/strict";
import { compileChatTemplate } from "../../../lib/data/chat_template.ts";
import type { ChatMessage } from "../../../lib/data/chat_message.ts";
import { type Render, renderTurns } from "../../../lib/data/chat_turns.ts";

const SPECIAL = { bos_token: "<s>", eos_token: "</s>" };

function renderOf(jinja: string, enableThinking = false): Render {
  const template = compileChatTemplate(jinja, SPECIAL, "test");
  return (turns, addGenerationPrompt) => template.render(turns, { addGenerationPrompt, enableThinking });
}

/** Each text as its targets in brackets, and the prompt. */
function turnsOf(render: Render, messages: readonly ChatMessage[], trained?: readonly number[]) {
  const all = messages.flatMap(({ role }, i) => role === "assistant" ? [i] : []);
  const { texts, prompt, openedTurns } = renderTurns(render, messages, trained ?? all);
  const shown = texts.map(({ text, targets }) => {
    let [out, at] = ["", 0];
    for (const { span: [start, end] } of targets) {
      out += `${text.slice(at, start)}⟦${text.slice(start, end)}⟧`;
      at = end;
    }
    return out;
  });
  return { shown, prompt, openedTurns };
}

function talk(...contents: readonly string[]): ChatMessage[] {
  return contents.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content }));
}

const SYSTEM: ChatMessage = { role: "system", content: "Be brief." };

/** Mistral v0.3: the system text stands in the last turn, when that is the user's. */
const MOVED = "{%- if messages[0]['role'] == 'system' %}{%- set sysm = messages[0]['content'] %}" +
  "{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}{{- bos_token }}" +
  "{%- for m in rest %}{%- if m['role'] == 'user' %}{%- if loop.last and sysm is defined %}" +
  "{{- '[INST] ' + sysm + '\\n\\n' + m['content'] + '[/INST]' }}{%- else %}" +
  "{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}{%- else %}{{- ' ' + m['content'] + eos_token }}{%- endif %}" +
  "{%- endfor %}";

Deno.test("renderTurns() puts the answer after its own prompt where system text moves to the last turn", () => {
  const { shown, prompt } = turnsOf(renderOf(MOVED), [SYSTEM, ...talk("Who?", "Ann", "When?", "Now.")]);
  assert.deepEqual(shown, [
    "<s>[INST] Be brief.\n\nWho?[/INST]⟦ Ann</s>⟧",
    "<s>[INST] Who?[/INST] Ann</s>[INST] Be brief.\n\nWhen?[/INST]⟦ Now.</s>⟧",
  ]);
  assert.equal(prompt, "<s>[INST] Who?[/INST] Ann</s>[INST] Be brief.\n\nWhen?[/INST]");
  assert.deepEqual(turnsOf(renderOf(MOVED), talk("Who?", "Ann", "When?", "Now.")).shown, [
    "<s>[INST] Who?[/INST]⟦ Ann</s>⟧[INST] When?[/INST]⟦ Now.</s>⟧",
  ]);
});

/** Phi 3: the end of the sequence comes after the last turn only. */
const LAST_END =
  "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}";

Deno.test("renderTurns() joins turns whose end mark is the same, though the last has another one after it", () => {
  const { shown } = turnsOf(renderOf(LAST_END), [SYSTEM, ...talk("a", "b", "c", "d")]);
  assert.deepEqual(shown, [
    "<|system|>\nBe brief.<|end|>\n<|user|>\na<|end|>\n<|assistant|>\n⟦b<|end|>⟧\n<|user|>\nc<|end|>\n<|assistant|>\n" +
    "⟦d<|end|>\n</s>⟧",
  ]);
});

Deno.test("renderTurns() gives turns that only end when they are last a text each", () => {
  const jinja =
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if loop.last and m.role == 'assistant' %}</s>" +
    "{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
  assert.deepEqual(turnsOf(renderOf(jinja), talk("a", "b", "c", "d")).shown, [
    "[user]a[assistant]⟦b</s>⟧",
    "[user]a[assistant]b[user]c[assistant]⟦d</s>⟧",
  ]);
});

Deno.test("renderTurns() does not take half of one ending for the other", () => {
  const jinja = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% if m.role == 'assistant' %}" +
    "{{ '</s>' if loop.last else '</turn>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
  assert.deepEqual(turnsOf(renderOf(jinja), talk("a", "b", "c", "d")).shown, [
    "[user]a[assistant]⟦b</s>⟧",
    "[user]a[assistant]b</turn>[user]c[assistant]⟦d</s>⟧",
  ]);
});

/** Qwen 3 in short. */
const THINKING =
  "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.role == 'assistant' and loop.last %}" +
  "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{{- m.content + '<|im_end|>\\n' }}{%- endfor %}" +
  "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is false %}" +
  "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}";

Deno.test("renderTurns() trains two assistant turns in a row, each after its own generation prompt", () => {
  const messages = [...talk("2+2?", "4"), { role: "assistant", content: "or four" }];
  const opening = "<|im_start|>user\n2+2?<|im_end|>\n<|im_start|>assistant\n";
  const thought = "<think>\n\n</think>\n\n";
  // Before the second is written, the first is the last turn, with its empty thought: so generation starts.
  const before = `${opening}${thought}4<|im_end|>\n<|im_start|>assistant\n${thought}`;
  const { shown, prompt } = turnsOf(renderOf(THINKING), messages);
  assert.equal(prompt, before);
  assert.deepEqual(shown, [
    `${opening}${thought}⟦4<|im_end|>⟧\n<|im_start|>assistant\n${thought}⟦or four<|im_end|>⟧`,
  ]);
  const apart = [...messages, { role: "user", content: "or?" }, { role: "assistant", content: "IV" }];
  assert.deepEqual(
    turnsOf(renderOf(THINKING), apart).shown.at(-1),
    [
      `${opening}4<|im_end|>\n<|im_start|>assistant\nor four<|im_end|>\n`,
      `<|im_start|>user\nor?<|im_end|>\n<|im_start|>assistant\n${thought}⟦IV<|im_end|>⟧`,
    ].join(""),
  );
});

/** DeepSeek's distilled models in short. */
const OPENED = "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>' + m.content }}{% else %}" +
  "{{ '<|assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}" +
  "{% if add_generation_prompt %}{{ '<|assistant|><think>\\n' }}{% endif %}";

Deno.test("renderTurns() says where the generation prompt opens a thought that answers lack", () => {
  const { shown, prompt, openedTurns } = turnsOf(
    renderOf(OPENED),
    talk("a", "<think>\nhm\n</think>\n\nb", "c", "d"),
  );
  assert.deepEqual(shown, ["<|user|>a<|assistant|>⟦\n\nb</s>⟧<|user|>c<|assistant|>⟦d</s>⟧"]);
  assert.equal(prompt, "<|user|>a<|assistant|>\n\nb</s><|user|>c<|assistant|><think>\n");
  assert.deepEqual(openedTurns, [3, 1]);
});

Deno.test("renderTurns() takes a turn out that is not trained, and what follows the last one that is", () => {
  const chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  const messages = talk("a", "b", "c", "d", "e", "f");
  assert.deepEqual(turnsOf(renderOf(chatml), messages, [3]).shown, [
    "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc<|im_end|>\n" +
    "<|im_start|>assistant\n⟦d<|im_end|>⟧",
  ]);
});

Deno.test("renderTurns() takes tool calls and other endings of a turn as the assistant's own", () => {
  const jinja =
    "{% for m in messages %}[{{ m.role }}]{{ m.content or '' }}{% for c in m.tool_calls or [] %}({{ c.name }})" +
    "{% endfor %}{{ '<|eom|>' if m.tool_calls else '<|eot|>' }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
  const messages: ChatMessage[] = [
    { role: "user", content: "a" },
    { role: "assistant", content: null, tool_calls: [{ name: "f" }] },
    { role: "tool", content: "1" },
    { role: "assistant", content: "b" },
  ];
  assert.deepEqual(turnsOf(renderOf(jinja), messages).shown, [
    "[user]a<|eot|>[assistant]⟦(f)<|eom|>⟧[tool]1<|eot|>[assistant]⟦b<|eot|>⟧",
  ]);
});

Deno.test("renderTurns() finds the end of answers that look like the template's own words", () => {
  const chatml = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}" +
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
  for (
    const answer of [
      "e",
      "end",
      "<|im_end|>",
      "assistant",
      "\n",
      " d ",
      "<|im_start|>user\nx",
      "<|im_end|>\n",
    ]
  ) {
    const [text] = turnsOf(renderOf(chatml), talk("user", answer, "assistant", answer)).shown;
    const target = `⟦${answer}<|im_end|>⟧`;
    assert.equal(
      text,
      `<|im_start|>user\nuser<|im_end|>\n<|im_start|>assistant\n${target}\n` +
        `<|im_start|>user\nassistant<|im_end|>\n<|im_start|>assistant\n${target}`,
    );
  }
});

Deno.test("renderTurns() refuses a template whose prompt cannot be put before the answer", () => {
  const jinja =
    "{% for m in messages %}{% if m.role == 'user' %}{{ m.content if loop.last else 'somebody asked' }}" +
    "{% else %}{{ m.content }};{% endif %}{% endfor %}";
  assert.throws(() => turnsOf(renderOf(jinja), talk("question", "b")), {
    category: "refused by the chat template",
    message: /messages before messages\[1\] otherwise once its answer follows/,
  });
});

// SPDX-License-Identifier: Apache-2.0
/** Tokenizers against what transformers gives for the same folder. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../../compare.ts";
import { chosenTemplate, settleTemplate } from "../../../lib/data/examples.ts";
import { checkVocabulary, createTokenizer, loadTokenizer } from "../../../lib/data/tokenizer.ts";
import { readTokenizerFiles, type TokenizerFiles } from "../../../lib/data/tokenizer_files.ts";
import { libraryProblem } from "../../../lib/data/tokenizer_library.ts";
import { fixtureExpected, fixtureFolder, fixtureTokenizer, TOKENIZER_NAMES } from "./fixtures.ts";

for (const name of TOKENIZER_NAMES) {
  Deno.test(`loadTokenizer() encodes and decodes like transformers: ${name}`, async () => {
    const tokenizer = await fixtureTokenizer(name);
    const { texts } = await fixtureExpected(name);
    for (const { text, ids, specialIds, decoded } of texts) {
      assert.deepEqual(await tokenizer.encode(text), ids, JSON.stringify(text));
      assert.deepEqual(await tokenizer.encode(text, { special: true }), specialIds, JSON.stringify(text));
      assert.equal(tokenizer.decode(specialIds), decoded, JSON.stringify(text));
    }
  });

  Deno.test(`loadTokenizer() finds the chat template and renders like transformers: ${name}`, async () => {
    const tokenizer = await fixtureTokenizer(name);
    const { chats } = await fixtureExpected(name);
    for (const { messages, rendered, prompt, ids } of chats) {
      const template = tokenizer.chatTemplate;
      assert(template !== null);
      assert.equal(template.render(messages, { addGenerationPrompt: false }), rendered);
      assert.equal(template.render(messages.slice(0, -1), { addGenerationPrompt: true }), prompt);
      assert.deepEqual(await tokenizer.encode(rendered), ids);
    }
  });
}

Deno.test("loadTokenizer() knows special ids, prefix and vocabulary size", async () => {
  const bytes = await fixtureTokenizer("byte_level");
  assert.deepEqual([bytes.bosId, bytes.eosId, bytes.padId, bytes.prefixIds], [null, 0, 0, []]);
  assert.deepEqual([...bytes.specialIds].sort(), [0, 1, 2]);
  assert.equal(bytes.vocabSize, 340);
  const meta = await fixtureTokenizer("metaspace");
  assert.deepEqual([meta.bosId, meta.eosId, meta.padId, meta.prefixIds], [1, 2, null, [1]]);
  assert.equal(meta.token(3), "<0x00>");
  assert.equal(meta.token(100_000), null);
});

Deno.test("Tokenizer.encode() and decode() of nothing give nothing", async () => {
  const tokenizer = await fixtureTokenizer("metaspace");
  assert.deepEqual(await tokenizer.encode(""), []);
  assert.deepEqual(await tokenizer.encode("", { special: true }), [1]);
  assert.equal(tokenizer.decode([]), "");
  assert.equal(tokenizer.decode([1, 2]), "");
  assert.equal(tokenizer.decode([1, 2], { keepSpecial: true }), "<s></s>");
});

Deno.test("Tokenizer.encodeBatch() gives each of many calls at once its own texts", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const calls = Array.from(
    { length: 40 },
    (_, i) => Array.from({ length: i % 4 }, (_, n) => `${i} the water ${n}`),
  );
  const all = await Promise.all(calls.map((texts) => tokenizer.encodeBatch(texts)));
  for (const [i, texts] of calls.entries()) {
    const alone = await tokenizer.encodeBatch(texts);
    assertSame(all[i], alone);
    assert.deepEqual(
      all[i]?.map(({ ids }) => [...ids]),
      await Promise.all(texts.map((text) => tokenizer.encode(text))),
    );
  }
});

async function metaspaceFiles() {
  const read = (name: string) => Deno.readTextFile(join(fixtureFolder("metaspace"), name));
  const config = JSON.parse(await read("tokenizer_config.json")) as Record<string, unknown>;
  return { tokenizer: await read("tokenizer.json"), config };
}

Deno.test("createTokenizer() reads special tokens from objects, and from special_tokens_map.json first", async () => {
  const { tokenizer } = await metaspaceFiles();
  const config = { bos_token: { content: "<s>", special: true }, eos_token: "<s>" };
  const made = await createTokenizer({ tokenizer, config, specialTokens: { eos_token: "</s>" } }, "x");
  assert.deepEqual([made.bosId, made.eosId], [1, 2]);
});

Deno.test("createTokenizer() leaves out what a class names by default and the vocabulary has not", async () => {
  const { tokenizer } = await metaspaceFiles();
  const config = { tokenizer_class: "CodeLlamaTokenizer" };
  const made = await createTokenizer({ tokenizer, config, model: { model_type: "llama" } }, "x");
  assert.equal(made.vocabSize, (await fixtureTokenizer("metaspace")).vocabSize);
  assert.equal(made.specialNames["prefix_token"], null);
});

Deno.test("createTokenizer() takes the file as it is without config.json, and where a class could not read it", async () => {
  const { tokenizer } = await metaspaceFiles();
  const raw = await createTokenizer({ tokenizer }, "x");
  const text = "  the water";
  const config = { tokenizer_class: "LlamaTokenizer" };
  const alone = await createTokenizer({ tokenizer, config }, "x");
  assert.deepEqual(await alone.encode(text), await raw.encode(text));
  const qwen = await createTokenizer({ tokenizer, config, model: { model_type: "qwen2" } }, "x");
  assert.deepEqual(await qwen.encode(text), await raw.encode(text));
  const llama = await createTokenizer({ tokenizer, config, model: { model_type: "llama" } }, "x");
  assert.notDeepEqual(await llama.encode(text), await raw.encode(text), "the case must be one");
});

Deno.test("createTokenizer() takes the template named default, and tool_use for rows with tools", async () => {
  const { tokenizer } = await metaspaceFiles();
  const named = (...names: string[]) => ({
    chat_template: names.map((name) => ({ name, template: `from ${name}` })),
  });
  const render = async (files: Partial<TokenizerFiles>, tools?: unknown[]) => {
    const { chatTemplate } = await createTokenizer({ tokenizer, ...files }, "x");
    return chatTemplate?.render([], {
      addGenerationPrompt: false,
      ...(tools === undefined ? {} : { tools }),
    });
  };
  const config = named("rag", "default", "tool_use");
  assert.equal(await render({ config }), "from default");
  assert.equal(await render({ config }, []), "from tool_use");
  assert.equal(await render({ config: named("default") }, []), "from default");
  assert.equal(await render({ config: { chat_template: { default: "d" } } }), "d");
  assert.equal(await render({ config, chatTemplate: "file" }), "file");
  assert.equal(await render({ config, chatTemplate: "file" }, []), "file", "files win over all others");
  const namedTemplates = { tool_use: "tools file" };
  assert.equal(await render({ config, chatTemplate: "file", namedTemplates }, []), "tools file");
});

Deno.test("createTokenizer() leaves a chat template that cannot be used to whoever asks for it", async () => {
  const { tokenizer } = await metaspaceFiles();
  const problems: [Partial<TokenizerFiles>, RegExp][] = [
    [
      { config: { chat_template: [{ name: "rag", template: "r" }] } },
      /named "rag", but none named "default"/,
    ],
    [{ config: { chat_template: 5 } }, /chat_template in tokenizer_config\.json of "x" is neither/],
    [{ namedTemplates: { tool_use: "t" } }, /named "tool_use", but none/],
    [{ chatTemplate: "{% if %}" }, /chat template of "x"/],
  ];
  for (const [files, message] of problems) {
    const made = await createTokenizer({ tokenizer, ...files }, "x");
    assert.equal(made.chatTemplate, null);
    assert.throws(() => chosenTemplate(made, {}), { name: "UserError", message });
    assert.equal(chosenTemplate(made, { chatTemplate: "off" }), null);
    const settled = settleTemplate(made, { chatTemplate: { jinja: "own", name: "own" } });
    assert.equal(chosenTemplate(settled.tokenizer, settled.options)?.source, "own");
  }
});

Deno.test("createTokenizer() names what stands beside tokenizer.json and cannot be used", async () => {
  const { tokenizer } = await metaspaceFiles();
  const refuses = (config: Record<string, unknown>, message: RegExp, model?: Record<string, unknown>) =>
    assert.rejects(
      createTokenizer({ tokenizer, config, ...(model === undefined ? {} : { model }) }, "tiny"),
      {
        message,
      },
    );
  await refuses({ split_special_tokens: true }, /"tiny" has 1 problem.*\n.*split_special_tokens/);
  await refuses({ fast_tokenizer_files: ["tokenizer.4.0.0.json"] }, /fast_tokenizer_files/);
  await refuses({ bos_token: 5, eos_token: [] }, /2 problems.*\n.*bos_token is 5.*\n.*eos_token is a list/);
  const decoder = {
    "-1": { content: "<a>" },
    "1.5": { content: "<b>" },
    "1e15": { content: "<c>" },
    "7": "<d>",
  };
  await refuses({ added_tokens_decoder: decoder }, /4 problems/);
  await refuses({ extra_special_tokens: [7] }, /extra_special_tokens has 7/);
  await refuses({ tokenizer_class: "T5Tokenizer" }, /with T5Tokenizer.*set "tokenizer_class"/s, {
    model_type: "llama",
  });
});

Deno.test("loadTokenizer() names a missing or broken file", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await assert.rejects(loadTokenizer(folder), {
      name: "MissingTokenizerError",
      message: /has no tokenizer\.json/,
    });
    await Deno.writeTextFile(join(folder, "tokenizer.json"), '{"model": ');
    await assert.rejects(loadTokenizer(folder), {
      name: "UserError",
      message: /tokenizer\.json" is not JSON/,
    });
    await Deno.writeTextFile(join(folder, "tokenizer.json"), "[]");
    await assert.rejects(loadTokenizer(folder), { name: "UserError", message: /is not a JSON object/ });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("checkVocabulary() refuses ids beyond the model's vocabulary", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  checkVocabulary(tokenizer, 340);
  checkVocabulary(tokenizer, 512);
  assert.throws(() => checkVocabulary(tokenizer, 339), {
    name: "UserError",
    message: /up to 339.*vocab_size is 339/,
  });
});

Deno.test("libraryProblem() names the permission or the missing binary, and the way out", () => {
  const chain = (...messages: string[]) =>
    messages.reduceRight<Error | undefined>((cause, message) => new Error(message, { cause }), undefined);
  const denied = chain(
    "Cannot find native binding",
    "no such file",
    'Requires ffi access to "x.node", run again',
  );
  assert.match(libraryProblem(denied), /may not be loaded; run again with --allow-ffi$/);
  const missing = chain("Cannot find native binding", "Cannot find module './x.node'\nRequire stack:\n- y");
  assert.match(
    libraryProblem(missing),
    /cannot be loaded on \w+ \w+: Cannot find module '\.\/x\.node'; it has binaries for Linux.*NAPI_RS_NATIVE_LIBRARY_PATH$/,
  );
});

Deno.test("a tokenizer's identity changes with all that decides its ids and texts, and with nothing else", async () => {
  const files = await readTokenizerFiles(fixtureFolder("byte_level"));
  const identityOf = async (changes: Partial<TokenizerFiles>, source = "a") =>
    (await createTokenizer({ ...files, ...changes }, source)).identity;
  const base = await identityOf({});
  assert.match(base ?? "", /^[0-9a-f]{64}$/);
  assert.equal(await identityOf({ config: { ...files.config, model_max_length: 7 } }, "moved"), base);
  const json = JSON.parse(files.tokenizer);
  const changed: Partial<TokenizerFiles>[] = [
    { tokenizer: JSON.stringify({ ...json, normalizer: { type: "NFC" } }) },
    { config: { ...files.config, extra_special_tokens: ["the"] } },
    { config: { ...files.config, eos_token: "<|im_end|>" } },
    { config: { ...files.config, chat_template: "{{ messages }}" } },
    { chatTemplate: "{{ messages }}." },
    { chatTemplate: "{{ messages }}.", namedTemplates: { tool_use: "{{ tools }}" } },
  ];
  const identities = await Promise.all(changed.map((changes) => identityOf(changes)));
  assert.equal(new Set([base, ...identities]).size, 1 + changed.length);
});

// SPDX-License-Identifier: Apache-2.0
/** Tokenizers against what transformers gives for the same folder. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { checkVocabulary, createTokenizer, loadTokenizer } from "../../../lib/data/tokenizer.ts";
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

async function metaspaceFiles() {
  const read = (name: string) => Deno.readTextFile(join(fixtureFolder("metaspace"), name));
  const config = JSON.parse(await read("tokenizer_config.json")) as Record<string, unknown>;
  return { tokenizer: await read("tokenizer.json"), config };
}

Deno.test("createTokenizer() lets add_bos_token and add_eos_token win over the post-processor", async () => {
  const files = await metaspaceFiles();
  const without = await createTokenizer({ ...files, config: { ...files.config, add_bos_token: false } }, "x");
  assert.deepEqual(without.prefixIds, []);
  const bare = JSON.stringify({ ...JSON.parse(files.tokenizer), post_processor: null });
  assert.deepEqual((await createTokenizer({ tokenizer: bare, config: files.config }, "x")).prefixIds, []);
  const both = { ...files.config, add_bos_token: true, add_eos_token: true };
  const added = await createTokenizer({ tokenizer: bare, config: both }, "x");
  assert.deepEqual(added.prefixIds, [1]);
  assert.equal((await added.encode("a", { special: true })).at(-1), 2);
});

Deno.test("createTokenizer() reads special tokens from objects and from special_tokens_map.json", async () => {
  const { tokenizer } = await metaspaceFiles();
  const config = { bos_token: { content: "<s>", special: true } };
  const made = await createTokenizer({
    tokenizer,
    config,
    specialTokens: { eos_token: "</s>", bos_token: "<unk>" },
  }, "x");
  assert.deepEqual([made.bosId, made.eosId], [1, 2]);
});

Deno.test("createTokenizer() takes the template named default, and says which names there are", async () => {
  const { tokenizer } = await metaspaceFiles();
  const named = (name: string) => ({
    chat_template: [{ name: "rag", template: "r" }, { name, template: "d" }],
  });
  const made = await createTokenizer({ tokenizer, config: named("default") }, "x");
  assert.equal(made.chatTemplate?.source, "d");
  await assert.rejects(
    createTokenizer({ tokenizer, config: named("tools") }, "x"),
    /named "rag", "tools", but none/,
  );
  const both = await createTokenizer({ tokenizer, config: named("default"), chatTemplate: "file" }, "x");
  assert.equal(both.chatTemplate?.source, "file");
});

Deno.test("createTokenizer() names what it cannot use", async () => {
  const { tokenizer } = await metaspaceFiles();
  const odd = JSON.stringify({ ...JSON.parse(tokenizer), model: { type: "Telepathy", vocab: {} } });
  await assert.rejects(createTokenizer({ tokenizer: odd }, "tiny"), {
    name: "ValidationError",
    message: /tokenizer\.json of "tiny" has 1 problem:.*Telepathy/s,
  });
  await assert.rejects(
    createTokenizer({ tokenizer, config: { eos_token: "<end>" } }, "tiny"),
    /eos_token "<end>"/,
  );
  await assert.rejects(createTokenizer({ tokenizer, chatTemplate: "{% if %}" }, "tiny"), {
    name: "UserError",
    message: /chat template of "tiny"/,
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

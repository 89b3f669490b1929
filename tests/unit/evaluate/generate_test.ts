// SPDX-License-Identifier: Apache-2.0
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import assert from "node:assert/strict";
import { nextUniform, randomStream } from "../../../lib/core/rng.ts";
import { generate, type GenerateOptions, streamCompletion } from "../../../lib/evaluate/generate.ts";
import { generateTokens } from "../../../lib/evaluate/generate_tokens.ts";
import type { Model } from "../../../lib/models/model.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { smallModel, smallOptions } from "../train/small_run.ts";
import { CHARACTERS, charCodes } from "./fake_session.ts";

const PROMPT = "!% 5";

/** Ends nothing by itself. */
const TOKENIZER = { ...CHARACTERS, eosId: null };

function withoutEnds(model: Model) {
  return { ...model, tokenizer: TOKENIZER, config: { ...model.config, eosTokenIds: [] } };
}

async function idsOf(
  model: Parameters<typeof streamCompletion>[0],
  options: GenerateOptions = {},
): Promise<number[]> {
  const ids = [];
  for await (const { id } of streamCompletion(model, PROMPT, { maxNewTokens: 6, ...options })) ids.push(id);
  return ids;
}

Deno.test("complete() is the text that generateTokens() gives for the prompt", async () => {
  using small = smallModel();
  const model = withoutEnds(small);
  let text = "";
  const options = { stopIds: new Set<number>(), maxNewTokens: 6 };
  for await (const token of generateTokens(model, TOKENIZER, [charCodes(PROMPT)], options)) {
    text += token.text;
  }
  assert.equal(text.length, 6);
  assert.equal(await generate(model, PROMPT, { maxNewTokens: 6 }), text);
});

Deno.test("streamCompletion() ends at the model's ends, the tokenizer's and those it is told, all of them", async () => {
  using small = smallModel();
  const model = withoutEnds(small);
  const sampled = { temperature: 2, seed: 5 };
  const ids = await idsOf(model, sampled);
  assert.equal(new Set(ids.slice(0, 5)).size, 5, "the case has no token twice");
  const [first, second, third, fourth] = ids as [number, number, number, number];
  const lengthWith = async (own: number | null, eosTokenIds: number[], told: number[]) => {
    const tokenizer = { ...TOKENIZER, eosId: own };
    const ending = { ...model, tokenizer, config: { ...model.config, eosTokenIds } };
    return (await idsOf(ending, { ...sampled, stopIds: new Set(told) })).length;
  };
  assert.equal(await lengthWith(null, [second], [third]), 2);
  assert.equal(await lengthWith(second, [third], [fourth]), 2);
  assert.equal(await lengthWith(fourth, [third], [first]), 1);
});

Deno.test("streamCompletion() runs the adapter it is given", async () => {
  using small = smallModel();
  const model = withoutEnds(small);
  const { params } = init(plan(small, smallOptions()));
  const random = randomStream(3, 0);
  for (const parameter of params.parameters) {
    const matrix = parameter.kind === "rows" && parameter.name.endsWith(".values")
      ? parameter.matrix.full
      : null;
    matrix?.forEach((_, i) => matrix[i] = nextUniform(random) - 0.5);
  }
  const { model: attached, hooks } = attachAdapter(model, params);
  const expected = [];
  const options = { stopIds: new Set<number>(), maxNewTokens: 6, hooks };
  for await (const { id } of generateTokens(attached, TOKENIZER, [charCodes(PROMPT)], options)) {
    expected.push(id);
  }
  assert.deepEqual(await idsOf(model, { adapter: params }), expected);
  assert.notDeepEqual(await idsOf(model), expected);
});

Deno.test("streamCompletion() refuses a prompt that fills the model's context", async () => {
  using small = smallModel();
  const model = withoutEnds(small);
  const { maxPositionEmbeddings } = model.config;
  const ask = (length: number) => generate(model, "5".repeat(length));
  assert.equal((await ask(maxPositionEmbeddings - 1)).length, 1);
  await assert.rejects(ask(maxPositionEmbeddings), {
    name: "UserError",
    message:
      /^The prompt cannot be used: the prompt has \d+ tokens, and the model has room for \d+, answer included/,
  });
});

// SPDX-License-Identifier: Apache-2.0
/** Generation: ends, streams, many prompts at once; and against one forward pass of a real model. */
import { attachAdapter } from "../../../lib/adapters/attach.ts";
import assert from "node:assert/strict";
import { nextUniform, randomStream } from "../../../lib/core/rng.ts";
import type { FinishReason } from "../../../lib/evaluate/answer_options.ts";
import { generateAnswers, generateIn, generateTokens } from "../../../lib/evaluate/generate_tokens.ts";
import { forwardLogits } from "../../../lib/models/engine/pass.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { plan } from "../../../lib/train/plan.ts";
import { init } from "../../../lib/train/state.ts";
import { fixtureTokenizer } from "../data/fixtures.ts";
import { smallModel, smallOptions } from "../train/small_run.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { CHARACTERS, charCodes, END, type FakeSession, fakeSession } from "./fake_session.ts";
import { tokenTargets } from "../../../lib/data/batch.ts";

const STOP = { stopIds: new Set([END]) };

/** Counts down from the last digit: "5" gives "43210". */
function countDown(text: string): string {
  const last = Number(text.at(-1));
  return last > 0 ? String(last - 1) : "";
}

async function run(
  session: FakeSession,
  prompts: readonly string[],
  options: Partial<Parameters<typeof generateIn>[3]> = {},
): Promise<{ text: string; finish: FinishReason | null; tokens: number }[]> {
  const answers = prompts.map(() => ({ text: "", finish: null as FinishReason | null, tokens: 0 }));
  const ids = prompts.map((prompt) => charCodes(prompt));
  for await (const { index, text, finish } of generateIn(session, CHARACTERS, ids, { ...STOP, ...options })) {
    const answer = answers[index];
    assert(answer !== undefined && answer.finish === null, "nothing comes after the end");
    answer.text += text;
    answer.tokens++;
    answer.finish = finish;
  }
  return answers;
}

Deno.test("generateIn() ends at a stop id, whose text is not given", async () => {
  assert.deepEqual(await run(fakeSession(1, 20, countDown), ["3"]), [{
    text: "210",
    finish: "stop id",
    tokens: 4,
  }]);
  assert.deepEqual(await run(fakeSession(1, 20, countDown), ["0"]), [{
    text: "",
    finish: "stop id",
    tokens: 1,
  }]);
});

Deno.test("generateIn() ends at maxNewTokens and where the session is full", async () => {
  const short = await run(fakeSession(1, 20, countDown), ["9"], { maxNewTokens: 3 });
  assert.deepEqual(short, [{ text: "876", finish: "length", tokens: 3 }]);
  const full = await run(fakeSession(1, 4, countDown), ["x9"]);
  assert.deepEqual(full, [{ text: "87", finish: "length", tokens: 2 }]);
});

Deno.test("generateIn() takes a stop id for what it is on the last token there is room for", async () => {
  const answers = await run(fakeSession(1, 20, countDown), ["2"], { maxNewTokens: 3 });
  assert.deepEqual(answers, [{ text: "10", finish: "stop id", tokens: 3 }]);
  const full = await run(fakeSession(1, 3, countDown), ["1"]);
  assert.deepEqual(full, [{ text: "0", finish: "stop id", tokens: 2 }]);
});

Deno.test("generateIn() gives out at every end what was held back for a stop string", async () => {
  const held = { stopStrings: ["7x", "0x"] };
  assert.deepEqual(await run(fakeSession(1, 20, countDown), ["2"], held), [
    { text: "10", finish: "stop id", tokens: 3 },
  ]);
  assert.deepEqual(await run(fakeSession(1, 20, countDown), ["9"], { ...held, maxNewTokens: 2 }), [
    { text: "87", finish: "length", tokens: 2 },
  ]);
});

Deno.test("generateIn() gives 256 tokens and draws from seed 0 where nothing else is said", async () => {
  const [answer] = await run(fakeSession(1, 400, () => "a"), ["a"]);
  assert.deepEqual([answer?.tokens, answer?.finish], [256, "length"]);
  const sampled = { temperature: 1, maxNewTokens: 20, stopIds: new Set<number>() };
  const session = () => {
    const even = fakeSession(1, 40, () => "a");
    return { ...even, append: async (ids: readonly Int32Array[]) => (await even.append(ids)).map(() => 0) };
  };
  assert.deepEqual(
    await run(session(), ["a"], sampled),
    await run(session(), ["a"], { ...sampled, seed: 0 }),
  );
});

Deno.test("generateIn() ends at a stop string, and holds back what may become one", async () => {
  const answers = await run(fakeSession(1, 20, countDown), ["9"], { stopStrings: ["54", "3", "63"] });
  assert.deepEqual(answers, [{ text: "876", finish: "stop string", tokens: 5 }]);
  const pieces: string[] = [];
  const options = { ...STOP, stopStrings: ["77", "67"] };
  for await (const { text } of generateIn(fakeSession(1, 20, countDown), CHARACTERS, [[57]], options)) {
    pieces.push(text);
  }
  assert.deepEqual(pieces, ["8", "", "7", "65", "4", "3", "2", "1", "0", ""].map((text) => text));
});

Deno.test("generateIn() writes special tokens by name where it is told to, in their place", async () => {
  const three = "3".charCodeAt(0);
  const tokenizer = { ...CHARACTERS, specialIds: new Set([END, three]) };
  const textWith = async (shownIds?: ReadonlySet<number>) => {
    let all = "";
    const options = { ...STOP, ...(shownIds && { shownIds }) };
    for await (const { text } of generateIn(fakeSession(1, 20, countDown), tokenizer, [[53]], options)) {
      all += text;
    }
    return all;
  };
  assert.equal(await textWith(), "4210");
  assert.equal(await textWith(new Set([three])), "43210");
});

Deno.test("generateIn() gives the same answers whatever the number of sequences, and fills free ones", async () => {
  const prompts = ["3", "9", "1", "0", "5", "22"];
  const alone = await run(fakeSession(1, 20, countDown), prompts);
  assert.deepEqual(alone.map(({ text }) => text), ["210", "876543210", "0", "", "43210", "10"]);
  for (const sequences of [2, 3, 6, 9]) {
    const session = fakeSession(sequences, 20, countDown);
    assert.deepEqual(await run(session, prompts), alone);
  }
  const two = fakeSession(2, 20, countDown);
  await run(two, prompts);
  const work = prompts.map((prompt) => Number(prompt.at(-1)) + 1).reduce((a, b) => a + b);
  assert.equal(two.calls.flat().length, work, "no token is computed twice");
  assert(two.calls.length < work * 0.7, "sequences work side by side");
});

Deno.test("generateIn() samples by seed and prompt, not by how prompts are grouped", async () => {
  const even = (sequences: number) => {
    const session = fakeSession(sequences, 40, () => "a");
    const flat: FakeSession = {
      ...session,
      append: async (ids) => (await session.append(ids)).map(() => 0), // every token equally likely
    };
    return flat;
  };
  const prompts = ["a", "b", "c", "d"];
  const options = { temperature: 1, seed: 4, maxNewTokens: 10, stopIds: new Set<number>() };
  const one = await run(even(1), prompts, options);
  assert.deepEqual(await run(even(3), prompts, options), one);
  assert.notDeepEqual(await run(even(1), prompts, { ...options, seed: 5 }), one);
  assert.notEqual(one[0]?.text, one[1]?.text);
});

Deno.test("generateIn() gives a character of several tokens when it is whole", async () => {
  const tokenizer = await fixtureTokenizer("byte_level");
  const script = [...await tokenizer.encode("日é"), END];
  let at = 0;
  const session = { ...fakeSession(1, 20, () => ""), vocabSize: tokenizer.vocabSize };
  session.append = () => {
    const logits = new Float32Array(tokenizer.vocabSize);
    logits[script[at++] as number] = 1;
    return Promise.resolve(logits);
  };
  const pieces: string[] = [];
  for await (const { text } of generateIn(session, tokenizer, [[5]], STOP)) pieces.push(text);
  assert.deepEqual(pieces, ["", "", "日", "", "é", ""]);
});

Deno.test("generateIn() refuses prompts it has no room for, before any work", async () => {
  await assert.rejects(run(fakeSession(1, 4, countDown), ["1", ""]), /Prompt 1 has no tokens/);
  const small = fakeSession(1, 4, countDown);
  await assert.rejects(run(small, ["1", "1234"]), /Prompt 1 has 4 tokens, there is room for 4/);
  assert.equal(small.calls.length, 0);
  await assert.rejects(run(fakeSession(1, 4, countDown), ["1"], { maxNewTokens: 0 }), /maxNewTokens is 0/);
  await assert.rejects(run(fakeSession(1, 4, countDown), ["1"], { topP: 2 }), /topP is 2/);
  assert.deepEqual(await run(fakeSession(1, 4, countDown), []), []);
});

Deno.test("generateAnswers() with a cache equals choosing the best token of whole forward passes", async () => {
  for (const name of ["llama_biases", "mistral_window", "qwen3_tied"]) {
    using model = openCheckpoint(modelFixture(name).dir, referenceKernels());
    const prompts = [[5, 6, 7], [9], [3, 1, 4, 1, 5], [2]];
    const expected = [];
    for (const prompt of prompts) {
      const ids = [...prompt];
      for (let i = 0; i < 6; i++) ids.push(await bestNext(model, ids));
      expected.push(ids.slice(prompt.length));
    }
    const options = { maxNewTokens: 6, stopIds: new Set<number>(), sequences: 2 };
    const answers = await Array.fromAsync(generateAnswers(model, CHARACTERS, prompts, options));
    answers.sort((a, b) => a.index - b.index);
    assert.deepEqual(answers.map(({ ids }) => ids), expected, name);
    assert.deepEqual(answers.map(({ finish }) => finish), Array(4).fill("length"));
  }
});

Deno.test("generate() fills a model's whole context, with what the whole forward pass chooses to the last place", async () => {
  using model = openCheckpoint(modelFixture("llama_dynamic").dir, referenceKernels());
  const { maxPositionEmbeddings } = model.config;
  const prompts = [[5, 6, 7], Array(maxPositionEmbeddings - 1).fill(9)];
  const options = { maxNewTokens: 100, stopIds: new Set<number>(), sequences: 2 };
  const answers = await Array.fromAsync(generateAnswers(model, CHARACTERS, prompts, options));
  answers.sort((a, b) => a.index - b.index);
  for (const [i, { ids, finish }] of answers.entries()) {
    const all = [...prompts[i] as number[]];
    while (all.length < maxPositionEmbeddings) all.push(await bestNext(model, all));
    assert.deepEqual([...prompts[i] as number[], ...ids], all);
    assert.equal(finish, "length");
  }
});

Deno.test("generate() reserves what prompts and answers can take, for 16 sequences at most unless told", async () => {
  const kernels = referenceKernels();
  using model = openCheckpoint(modelFixture("llama_biases").dir, kernels);
  const bytes = async (
    lengths: readonly number[],
    options: { maxNewTokens?: number; sequences?: number },
  ) => {
    const prompts = lengths.map((length) => Array(length).fill(5));
    for await (const _ of generateTokens(model, CHARACTERS, prompts, { ...STOP, ...options })) {
      return kernels.ledger.held.get("cache") ?? 0;
    }
  };
  const place = await bytes([1], { maxNewTokens: 1 }) as number / 2;
  assert.equal(await bytes([1, 3, 2], { maxNewTokens: 4 }), 3 * (3 + 4) * place);
  assert.equal(await bytes([1, 3, 2], { maxNewTokens: 4, sequences: 2 }), 2 * (3 + 4) * place);
  assert.equal(await bytes(Array(20).fill(1), { maxNewTokens: 1 }), 16 * 2 * place);
  assert.equal(await bytes([1], { maxNewTokens: 1, sequences: 9 }), 2 * place);
  assert.equal(
    await bytes([1], {}),
    model.config.maxPositionEmbeddings * place,
    "no more than the model has",
  );
});

Deno.test("generate() runs the adapter it is given, and names the adapter's tensor that is not finite", async () => {
  using model = smallModel();
  const { params } = init(plan(model, smallOptions()));
  const random = randomStream(3, 0);
  const values = params.parameters.flatMap((parameter) => {
    const matrix = parameter.kind === "rows" && parameter.name.endsWith(".values")
      ? parameter.matrix.full
      : null;
    return matrix === null ? [] : [matrix];
  });
  for (const matrix of values) matrix.forEach((_, i) => matrix[i] = nextUniform(random) - 0.5);
  const { model: attached, hooks } = attachAdapter(model, params);
  const answer = async (given: Partial<Parameters<typeof generateTokens>[3]>) => {
    const ids = [];
    const options = { maxNewTokens: 5, stopIds: new Set<number>(), ...given };
    for await (const { id } of generateTokens(attached, CHARACTERS, [[5, 6, 7]], options)) ids.push(id);
    return ids;
  };
  const ids = [5, 6, 7];
  for (let i = 0; i < 5; i++) ids.push(await bestNext(attached, ids, hooks));
  assert.deepEqual(await answer({ hooks }), ids.slice(3));
  assert.notDeepEqual(await answer({}), ids.slice(3));
  values[0]?.fill(Infinity);
  await assert.rejects(answer({ hooks, adapter: params }), {
    name: "NotFiniteError",
    message:
      /^The logit of token \d+ is .*\. Tensor ".*0\.mlp\.meft\.values" of the adapter holds Infinity at \[0, 0\]/,
  });
});

async function bestNext(
  model: Parameters<typeof forwardLogits>[0],
  ids: number[],
  hooks: Parameters<typeof forwardLogits>[2] = {},
): Promise<number> {
  const batch = {
    ids: Int32Array.from(ids),
    positions: Int32Array.from(ids, (_, i) => i),
    starts: Int32Array.of(0, ids.length),
    targets: tokenTargets(new Int32Array(ids.length).fill(-1)),
    targetCount: 0,
  };
  const logits = await forwardLogits(model, batch, hooks);
  const last = [...logits.data.slice(-model.config.vocabSize)];
  return last.indexOf(Math.max(...last));
}

Deno.test("generate() gives the cache back, also when the reader leaves early", async () => {
  const kernels = referenceKernels();
  using model = openCheckpoint(modelFixture("llama_biases").dir, kernels);
  const held = () => kernels.ledger.held.get("cache") ?? 0;
  for await (const _ of generateTokens(model, CHARACTERS, [[5]], { stopIds: new Set() })) {
    assert(held() > 0);
    break;
  }
  assert.equal(held(), 0);
});

Deno.test("generate() refuses a prompt as long as the model's context", async () => {
  using model = openCheckpoint(modelFixture("llama_biases").dir, referenceKernels());
  const long = Array(model.config.maxPositionEmbeddings).fill(1);
  const first = generateTokens(model, CHARACTERS, [long], STOP).next();
  await assert.rejects(first, /Prompt 0 has \d+ tokens, the model has room for \d+/);
});

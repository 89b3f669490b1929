// SPDX-License-Identifier: Apache-2.0
/** Weights that are replaced while a run goes on, or between two parts of it. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { assertSame } from "../../compare.ts";
import { UserError } from "../../../lib/core/errors.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { loadCheckpoint } from "../../../lib/train/checkpoint.ts";
import { watchBase } from "../../../lib/train/base_watch.ts";
import { train } from "../../../lib/train/loop.ts";
import { plan, type RunOptions } from "../../../lib/train/plan.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { parameterBytes, smallData, smallModel, smallOptions } from "./small_run.ts";

/** A model's folder of its own, and what is done to its weights. */
interface Copy {
  readonly dir: string;
  readonly weights: string;
  /** The weights with one bit turned. */
  readonly other: Uint8Array;
}

async function withCopy(use: (copy: Copy, folder: string) => Promise<void>): Promise<void> {
  await withFolder(async (folder) => {
    const [from, dir] = [modelFixture("llama3_tied").dir, join(folder, "model")];
    await Deno.mkdir(dir);
    for (const name of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(join(from, name), join(dir, name));
    }
    const weights = join(dir, "model.safetensors");
    const other = await Deno.readFile(weights);
    other[other.length - 6] = (other.at(-6) as number) ^ 1;
    await use({ dir, weights, other }, folder);
  });
}

/** Trains with a checkpoint after every step, and does something after the first. */
async function trainWith(
  dir: string,
  options: RunOptions,
  afterFirst: () => Promise<unknown> = () => Promise.resolve(),
) {
  using model = openCheckpoint(dir, referenceKernels());
  const run = plan(model, smallOptions({ steps: 4, saveEvery: 1, ...options }));
  const warnings: string[] = [];
  const training = train(run, smallData(), { onWarning: (text) => void warnings.push(text) });
  for await (const { step } of training) {
    if (step === 1) await afterFirst();
  }
  return { warnings, bits: parameterBytes(training.adapter?.parameters ?? []) };
}

/** By a new file of that name, as a download does it. */
async function replaceWith(path: string, bytes: Uint8Array): Promise<void> {
  await Deno.writeFile(`${path}.new`, bytes);
  await Deno.rename(`${path}.new`, path);
}

Deno.test("train() says once that its weights were replaced under it, and goes on with those that it has open", async () => {
  await withCopy(async ({ dir, weights, other }, folder) => {
    const whole = await trainWith(dir, { out: join(folder, "whole") });
    assert.deepEqual(whole.warnings, []);
    const out = join(folder, "run");
    const { warnings, bits } = await trainWith(dir, { out }, () => replaceWith(weights, other));
    assert.deepEqual(warnings, [
      `${weights} is another one by now, and the run goes on with the weights that it has open: what it learns belongs to ` +
      `those, so put them back into ${dir} before it is resumed, and keep them for its adapter`,
    ]);
    assertSame(bits, whole.bits);
  });
});

Deno.test("train() says nothing of weights that are the same bytes in another file, and says it of ones that are gone", async () => {
  await withCopy(async ({ dir, weights }, folder) => {
    const bytes = await Deno.readFile(weights);
    const same = await trainWith(dir, { out: join(folder, "same") }, () => replaceWith(weights, bytes));
    assert.deepEqual(same.warnings, []);
    const gone = await trainWith(dir, { out: join(folder, "gone") }, () => Deno.remove(weights));
    assert.match(
      gone.warnings.join("\n"),
      /^\S*model\.safetensors is gone, and the run goes on with .* put them back/,
    );
  });
});

Deno.test("train() refuses to start on weights that are not those it opened", async () => {
  await withCopy(async ({ dir, weights, other }, folder) => {
    using model = openCheckpoint(dir, referenceKernels());
    await replaceWith(weights, other);
    const run = plan(model, smallOptions({ out: join(folder, "run") }));
    await assert.rejects(
      train(run, smallData()).next(),
      (error: Error) =>
        error instanceof UserError &&
        /was replaced or written to while the run was being started/.test(error.message),
    );
  });
});

Deno.test("loadCheckpoint() refuses weights of another content whose samples are the same, and takes checkpoints without it", async () => {
  await withFolder(async (out) => {
    using model = smallModel();
    const options = smallOptions({ out, steps: 1 });
    const training = train(plan(model, options), smallData());
    for await (const _ of training);
    const { run } = training;
    const { hash: dataHash } = JSON.parse(await Deno.readTextFile(join(out, "run.json"))).data;
    const path = join(out, "checkpoints", "step-000001");
    const load = (content: Partial<Record<"content" | "hash", string>>) => {
      const other = plan(model, options);
      const base = { ...other.base, ...content };
      return loadCheckpoint({ ...other, totalSteps: 1, base }, dataHash, path);
    };
    assert.match(run.base.content as string, /^[0-9a-f]{64}$/);
    assert.equal((await load({ content: run.base.content as string })).step, 1);
    assert.equal((await load({})).step, 1);
    const other = await load({ content: "0123456789abcdef", hash: "fedcba" }).catch((error: Error) =>
      error.message
    );
    assert.equal(String(other).split("holds other weights").length, 2, `${other}: said once`);
    await assert.rejects(
      load({ content: "0123456789abcdef" }),
      new RegExp(
        `--model .* holds other weights \\(hash 0123456789ab\\) than the run was begun on \\(hash ${
          run.base.content?.slice(0, 12)
        }\\): put those back`,
      ),
    );
  });
});

Deno.test("watchBase() knows a model by config.json and every byte of every file, under its name", () =>
  withFolder(async (folder) => {
    const { dir: from } = modelFixture("qwen2_tied"); // in several files
    const dir = join(folder, "model");
    await Deno.mkdir(dir);
    const names = [...Deno.readDirSync(from)].map(({ name }) => name);
    for (const name of names) await Deno.copyFile(join(from, name), join(dir, name));
    const weights = names.filter((name) => /^model-.*\.safetensors$/.test(name));
    const watched = async () => {
      using model = openCheckpoint(dir, referenceKernels());
      return await watchBase(model, () => {}) ?? assert.fail("the model has weights");
    };
    const { content, check } = await watched();
    assert.equal(await check(), null);
    const seen = new Set([content]);
    for (const name of ["config.json", ...weights]) {
      const path = join(dir, name);
      const bytes = await Deno.readFile(path);
      const place = name === "config.json" ? bytes.lastIndexOf(10) : bytes.length - 6;
      await replaceWith(path, bytes.with(place, name === "config.json" ? 32 : (bytes[place] as number) ^ 1));
      assert.match(await check() ?? "", new RegExp(`${name} is another one by now`));
      seen.add((await watched()).content);
      await replaceWith(path, bytes);
      assert.equal(await check(), null);
    }
    assert.equal(seen.size, 2 + weights.length);
    assert.equal((await watched()).content, content);
    const [first] = weights as [string];
    const index = join(dir, "model.safetensors.index.json");
    await Deno.rename(join(dir, first), join(dir, `a-${first}`));
    const text = await Deno.readTextFile(index);
    await Deno.writeTextFile(index, text.replaceAll(`"${first}"`, `"a-${first}"`));
    assert.notEqual((await watched()).content, content, "the same bytes under another name");
    await Deno.rename(join(dir, `a-${first}`), join(dir, first));
    await Deno.writeTextFile(index, text);
    using weightless = openCheckpoint(dir, referenceKernels());
    assert.equal(await watchBase({ ...weightless, weightless: true }, () => {}), null);
  }));

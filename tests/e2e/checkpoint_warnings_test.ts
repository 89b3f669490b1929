// SPDX-License-Identifier: Apache-2.0
/** What the command line says of checkpoints that are not quite what their configuration says. */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { readBytes } from "../../lib/tensor/read_tensor.ts";
import { readSafetensorsHeader } from "../../lib/tensor/safetensors.ts";
import { type TensorSource, writeSafetensors } from "../../lib/tensor/write_safetensors.ts";
import { withFolder } from "../fixtures/folder.ts";
import { DEMO_FACTS, DEMO_MODEL, runCommandLine } from "./command.ts";

/** The demo with fields of its configuration changed, and tensors added. */
async function copyDemo(
  folder: string,
  fields: Record<string, unknown>,
  ...tensors: TensorSource[]
): Promise<string> {
  const copy = `${folder}/model`;
  await Deno.mkdir(copy, { recursive: true });
  for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
    await Deno.copyFile(`${DEMO_MODEL}/${name}`, `${copy}/${name}`);
  }
  const config = JSON.parse(await Deno.readTextFile(`${copy}/config.json`));
  await Deno.writeTextFile(`${copy}/config.json`, JSON.stringify({ ...config, ...fields }));
  const entries = [...readSafetensorsHeader(`${DEMO_MODEL}/model.safetensors`).tensors.values()];
  const kept = entries.filter(({ name }) => tensors.every((tensor) => tensor.name !== name));
  await writeSafetensors(`${copy}/model.safetensors`, [
    ...kept.map((entry) => ({ ...entry, data: readBytes(entry) })),
    ...tensors,
  ]);
  return copy;
}

Deno.test("a head of zeros that is said to be tied is used, told of once, and gives the loss of guessing", () =>
  withFolder(async (folder) => {
    const { tensors } = readSafetensorsHeader(`${DEMO_MODEL}/model.safetensors`);
    const embedding = tensors.get("model.embed_tokens.weight");
    if (embedding === undefined) throw new Error("the demo has no embedding");
    const head = { ...embedding, name: "lm_head.weight", data: new Uint8Array(embedding.bytes) };
    const fields = { tie_word_embeddings: true, favourite_colour: "blue" };
    const model = await copyDemo(folder, fields, head);
    const evaluated = await runCommandLine(
      ...["evaluate", "--model", model, "--data", DEMO_FACTS, "--limit", "3"],
      ...["--metric", "loss", "--dtype", "f32", "--json"],
    );
    strictEqual(evaluated.code, 0, evaluated.stderr);
    const loss = Math.log(embedding.shape[0] as number);
    strictEqual(Math.abs(JSON.parse(evaluated.stdout).loss - loss) < 1e-6, true, evaluated.stdout);
    const warnings = evaluated.stderr.split("\n").filter((line) => line.startsWith("Warning:"));
    deepStrictEqual(warnings.length, 2, evaluated.stderr);
    match(warnings[0] as string, /Fields that are passed over, as transformers does: "favourite_colour"$/);
    match(warnings[1] as string, /"lm_head\.weight" differs from "model\.embed_tokens\.weight"/);
  }));

Deno.test("a dry run warns as a run does, and refuses a field that asks for another computation, with exit code 2", () =>
  withFolder(async (folder) => {
    const dry = async (fields: Record<string, unknown>) => {
      const model = await copyDemo(folder, fields);
      return await runCommandLine("train", "--model", model, "--data", DEMO_FACTS, "--dry-run", "--json");
    };
    const warned = await dry({ favourite_colour: "blue" });
    strictEqual(warned.code, 0, warned.stderr);
    strictEqual(warned.stderr.match(/^Warning: .*"favourite_colour"$/gm)?.length, 1, warned.stderr);
    const refused = await dry({ logits_scaling: 8 });
    strictEqual(refused.code, 2);
    match(refused.stderr, /Field "logits_scaling" \(8\) is unknown/);
  }));

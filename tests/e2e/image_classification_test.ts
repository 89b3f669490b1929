// SPDX-License-Identifier: Apache-2.0
/** From folders of pictures to a score: looked at, trained on, scored, merged and scored again. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { readSafetensorsHeader } from "../../lib/tensor/safetensors.ts";
import { writeDigitModel, writeDigits } from "../fixtures/digits.ts";
import { withFolder } from "../fixtures/folder.ts";
import { runCommandLine } from "./command.ts";

/** Digits that are trained on, and those behind them up to where they are scored on. */
const [TRAINED, ALL] = [700, 900];

const name = (digit: string): string => `digit ${digit}`;

Deno.test("a folder of digits for each class is learnt, scored, and merged into a model that scores the same", () =>
  withFolder(async (folder) => {
    const path = (file: string): string => join(folder, file);
    await writeDigitModel(path("model"));
    await writeDigits(path("train"), 0, TRAINED, name);
    await writeDigits(path("test"), TRAINED, ALL, name);

    const shown = await runCommandLine(
      "preview",
      "--model",
      path("model"),
      "--data",
      path("train"),
      "--rows",
      "1",
    );
    strictEqual(shown.code, 0, shown.stderr);
    match(shown.stdout, /train\/digit 0\/0000\.png {2}picture, label digit 0\n/);

    const data = ["--data", path("train"), "--eval-data", path("test")];
    const sizes = ["--batch-size", "32", "--micro-batch-size", "32", "--epochs", "8", "--lr", "2e-3"];
    const out = ["--out", path("run"), "--json"];
    const trained = await runCommandLine(
      ...["train", "--model", path("model"), "--method", "full", ...data, ...sizes, ...out],
    );
    strictEqual(trained.code, 0, trained.stderr);

    const score = async (...model: string[]) => {
      const result = await runCommandLine("evaluate", ...model, "--data", path("test"), "--json");
      strictEqual(result.code, 0, result.stderr);
      return JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "");
    };
    const adapted = await score("--model", path("model"), "--adapter", path("run/adapter"));
    strictEqual(adapted.task, "image-classification");
    strictEqual(adapted.targets, ALL - TRAINED);
    // Chance is 0.1.
    ok(adapted.scores.accuracy.mean > 0.7, JSON.stringify(adapted.scores));

    const merged = await runCommandLine(
      ...["merge", "--model", path("model"), "--adapter", path("run/adapter"), "--out", path("merged")],
    );
    strictEqual(merged.code, 0, merged.stderr);
    const config = JSON.parse(Deno.readTextFileSync(path("merged/config.json")));
    deepStrictEqual(config.architectures, ["ViTForImageClassification"]);
    strictEqual(config.id2label[3], "digit 3");
    // By the names and in the shapes that transformers reads.
    const { tensors } = readSafetensorsHeader(path("merged/model.safetensors"));
    const shapeOf = (tensor: string) => tensors.get(tensor)?.shape;
    deepStrictEqual(shapeOf("vit.encoder.layer.2.attention.attention.query.weight"), [48, 48]);
    deepStrictEqual(shapeOf("vit.embeddings.patch_embeddings.projection.weight"), [48, 1, 2, 2]);
    deepStrictEqual(shapeOf("vit.embeddings.position_embeddings"), [1, 17, 48]);
    deepStrictEqual(shapeOf("classifier.weight"), [10, 48]);
    const alone = await score("--model", path("merged"));
    deepStrictEqual(alone.scores, adapted.scores);
  }));

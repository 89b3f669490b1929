// SPDX-License-Identifier: Apache-2.0
/** The task of pictures: which models have it, the head for its data, and data that does not suit the model. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { previewExamples, previewText } from "../../../lib/data/preview.ts";
import { formatTerminalText } from "../../../lib/core/visible_text.ts";
import { openCheckpoint } from "../../../lib/models/load.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { imageClassification } from "../../../lib/tasks/image_classification.ts";
import { taskOf } from "../../../lib/tasks/registry.ts";
import { full } from "../../../lib/methods/methods.ts";
import type { HeadConfig } from "../../../lib/models/heads/head_config.ts";
import type { TaskModel } from "../../../lib/tasks/task.ts";
import { openTask } from "../../../lib/train/open_task.ts";
import { plan } from "../../../lib/train/plan.ts";
import { writeDigitModel, writeDigits } from "../../fixtures/digits.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { modelFixture } from "../../fixtures/model_fixture.ts";
import { visionFolder } from "../../fixtures/vision_fixture.ts";

/** A model that has pictures alone. */
function modelOf(dir: string, head: HeadConfig): TaskModel {
  return {
    dir,
    config: { head },
    get tokenizer(): never {
      throw new Error("Pictures have no tokens");
    },
  };
}

Deno.test("a model of pictures has the task by itself, with its own classes or those of the data", () =>
  withFolder(async (folder) => {
    await writeDigits(join(folder, "data"), 0, 30);
    const data = [join(folder, "data")];
    const own = await openTask({ model: visionFolder("vit_labels"), data });
    assert.equal(own.task, imageClassification);
    assert.deepEqual(own.head, { kind: "classification", gives: "classes", labels: ["cat", "dog", "zebra"] });
    const base = await openTask({ model: visionFolder("vit_base"), data });
    const labels = Array.from({ length: 10 }, (_, digit) => String(digit));
    assert.deepEqual(base.head, { kind: "classification", gives: "classes", labels });
    const named = { model: visionFolder("vit_base"), data, task: "classification" };
    await assert.rejects(
      openTask(named),
      /takes pictures, task classification is for models of texts .*image-class/,
    );
    const text = { model: modelFixture("llama_linear").dir, data, task: "image-classification" };
    await assert.rejects(openTask(text), /takes texts, task image-classification is for models of pictures/);
    assert.throws(
      () => taskOf("imageclassification", { head: base.head, takes: "patches" }),
      /did you mean "image-c/,
    );
  }));

Deno.test("its data is pictures with the model's classes, as its processor makes them", () =>
  withFolder(async (folder) => {
    const dir = join(folder, "model");
    await writeDigitModel(dir);
    await writeDigits(join(folder, "data"), 0, 30);
    const paths = [join(folder, "data")];
    const { head } = await openTask({ model: dir, data: paths });
    const model = modelOf(dir, head);
    const dataset = await imageClassification.load(paths, model, {});
    assert.equal(dataset.seqLen, 17);
    const [shown] = previewExamples(dataset, model, 1);
    assert.ok(shown !== undefined);
    assert.match(
      formatTerminalText(previewText([shown], { color: false })),
      /data\/0\/0000\.png {2}picture, label 0\n$/,
    );

    using opened = openCheckpoint(dir, referenceKernels(), { head });
    assert.equal(plan(opened, { method: full() }).settings.batch.seqLen, 17);
    assert.throws(
      () => plan(opened, { method: full(), batch: { seqLen: 16 } }),
      /batch\.seqLen is 16, but a picture has 17 tokens for this model: leave it out/,
    );

    const foreign = modelOf(dir, { kind: "classification", gives: "classes", labels: ["0", "1"] });
    await assert.rejects(
      imageClassification.load(paths, foreign, {}),
      /"label" is "2", expected one of "0", "1"/,
    );
    Deno.writeTextFileSync(join(dir, "preprocessor_config.json"), '{"size": 16}');
    await assert.rejects(
      imageClassification.load(paths, model, {}),
      /makes pictures of 16 x 16 pixels, the model takes 8 x 8/,
    );
    Deno.removeSync(join(dir, "preprocessor_config.json"));
    await assert.rejects(
      imageClassification.load(paths, model, {}),
      /preprocessor_config\.json does not exist: it says how/,
    );
  }));

// SPDX-License-Identifier: Apache-2.0
/** Pictures as a data set: every row accounted for, batches decoded when they are asked for. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { makeMicroBatch, stepShapes, trainingSteps } from "../../../../lib/data/batches.ts";
import { datasetHash, firstRows } from "../../../../lib/data/dataset.ts";
import { openImageReader } from "../../../../lib/data/images/image_files.ts";
import { loadImages } from "../../../../lib/data/images/load_images.ts";
import { patchCount, patchNumbers, type PatchShape } from "../../../../lib/data/images/patches.ts";
import { readProcessor } from "../../../../lib/data/images/processor.ts";
import { BadRowsError } from "../../../../lib/data/bad_rows.ts";
import { assertSameBits } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { fileOf } from "./fixtures.ts";

const SHAPE: PatchShape = { channels: 3, image: { height: 8, width: 8 }, patch: { height: 4, width: 4 } };
const TOKENS = patchCount(SHAPE) + 1;

function reader() {
  return openImageReader(readProcessor({ size: 8 }, "it"), SHAPE, "it");
}

/** A folder for each class, with a file of the fixtures in each place. */
function writePictures(folder: string, pictures: Readonly<Record<string, string>>): void {
  for (const [path, name] of Object.entries(pictures)) {
    Deno.mkdirSync(join(folder, path, ".."), { recursive: true });
    Deno.writeFileSync(join(folder, path), fileOf(name));
  }
}

const PICTURES = {
  "cats/1.png": "colour.png",
  "cats/2.jpg": "420.jpg",
  "dogs/1.png": "grey.png",
  "dogs/2.png": "opacity.png",
  "dogs/3.jpg": "turned-6.jpg",
};

Deno.test("loadImages() numbers classes by name, and its batches are the pictures in the order that a seed gives", () =>
  withFolder(async (folder) => {
    writePictures(folder, PICTURES);
    const opened = await reader();
    const dataset = await loadImages([folder], opened, { tokens: TOKENS });
    assert.deepEqual(dataset.labels, {
      kind: "classes",
      of: Int32Array.of(0, 0, 1, 1, 1),
      names: ["cats", "dogs"],
    });
    const { tokens, targets, rowsRead } = dataset.report;
    assert.deepEqual([rowsRead, tokens, targets], [5, 5 * TOKENS, 5]);
    const options = { batchSize: 4, microBatchSize: 2, shuffleSeed: 3 };
    const { value: shapes } = stepShapes(dataset, options).next();
    const { value: step } = trainingSteps(dataset, options).next();
    assert.deepEqual(shapes?.map((shape) => [shape.tokens, shape.targets]), [[2 * TOKENS, 2], [
      2 * TOKENS,
      2,
    ]]);
    const seen: number[] = [];
    for (const { batch, examples } of step?.microBatches ?? []) {
      assert.deepEqual([...batch.starts], [0, TOKENS, 2 * TOKENS]);
      assert.deepEqual([...batch.positions.subarray(TOKENS)], [0, 1, 2, 3, 4]);
      examples.forEach((example, sequence) => {
        seen.push(example);
        const [rows, expected] = [0, 0].map(() =>
          new Float32Array(patchCount(SHAPE) * patchNumbers(SHAPE))
        ) as [Float32Array, Float32Array];
        batch.pictures?.read(sequence, rows);
        const path = join(folder, Object.keys(PICTURES)[example] as string);
        opened.read(path, opened.examine(path).hash, expected);
        assertSameBits(`example ${example}`, rows, expected);
      });
    }
    assert.equal(new Set(seen).size, 4);
  }));

Deno.test("a data set of pictures has another hash when a picture or a label is another, and none when it has moved", () =>
  withFolder(async (folder) => {
    const hashOf = async (name: string, pictures: Readonly<Record<string, string>>) => {
      writePictures(join(folder, name), pictures);
      return datasetHash(await loadImages([join(folder, name)], await reader(), { tokens: TOKENS }));
    };
    const hash = await hashOf("first", PICTURES);
    assert.equal(await hashOf("moved", PICTURES), hash);
    assert.notEqual(await hashOf("picture", { ...PICTURES, "dogs/1.png": "palette.png" }), hash);
    const { "cats/2.jpg": moved, ...others } = PICTURES;
    assert.notEqual(await hashOf("label", { ...others, "dogs/0.jpg": moved }), hash);
  }));

Deno.test("loadImages() lists bad rows with their reasons, or leaves them out", () =>
  withFolder(async (folder) => {
    writePictures(folder, PICTURES);
    Deno.writeTextFileSync(join(folder, "dogs/4.txt"), "no picture");
    const rows = [
      { image: "cats/1.png", label: "cat" },
      { image: "absent.png", label: "cat" },
      { image: "dogs/4.txt", label: "dog" },
      { image: "cats/2.jpg", label: "ox" },
      { image: "cats/2.jpg" },
      { image: "dogs", label: "dog" },
    ];
    const file = join(folder, "rows.jsonl");
    Deno.writeTextFileSync(file, rows.map((row) => JSON.stringify(row)).join("\n"));
    const options = { tokens: TOKENS, classes: ["cat", "dog"] };
    await assert.rejects(loadImages([file], await reader(), options), (error: Error) => {
      assert.ok(error instanceof BadRowsError);
      const said = error.badRows.map(({ line, category, reason }) => `${line} ${category}: ${reason}`);
      assert.equal(said.length, 5);
      assert.match(said[0] as string, /^2 unreadable picture: .*absent\.png/);
      assert.match(
        said[1] as string,
        /^3 unreadable picture: picture ".*4\.txt" cannot be read: it is no picture/,
      );
      assert.match(said[2] as string, /^4 unknown label: "label" is "ox", expected one of "cat", "dog"$/);
      assert.match(said[3] as string, /^5 empty: the row has no "label"$/);
      assert.match(said[4] as string, /^6 unreadable picture: .*dogs/);
      return true;
    });
    const dataset = await loadImages([file], await reader(), { ...options, badRows: "skip" });
    assert.deepEqual([dataset.report.rowsUsed, dataset.report.badRows.length], [1, 5]);
    assert.equal(makeMicroBatch(dataset, Int32Array.of(0)).batch.targetCount, 1);
  }));

Deno.test("firstRows() of pictures keeps those alone", () =>
  withFolder(async (folder) => {
    writePictures(folder, PICTURES);
    const some = firstRows(await loadImages([folder], await reader(), { tokens: TOKENS }), 2);
    assert.deepEqual(some.pictures?.paths.map((path) => path.slice(folder.length + 1)), [
      "cats/1.png",
      "cats/2.jpg",
    ]);
    assert.deepEqual([some.labels?.of.length, some.report.targets, some.report.tokens], [2, 2, 2 * TOKENS]);
  }));

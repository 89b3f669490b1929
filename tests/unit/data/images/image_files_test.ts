// SPDX-License-Identifier: Apache-2.0
/** Pictures on disk: looked at once, decoded when asked for. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { openImageReader } from "../../../../lib/data/images/image_files.ts";
import { ImageError } from "../../../../lib/data/images/image.ts";
import {
  patchCount,
  patchesInto,
  patchNumbers,
  type PatchShape,
} from "../../../../lib/data/images/patches.ts";
import { preprocess } from "../../../../lib/data/images/preprocess.ts";
import { readProcessor } from "../../../../lib/data/images/processor.ts";
import { readImage } from "../../../../lib/data/images/read_image.ts";
import { assertSameBits } from "../../../compare.ts";
import { withFolder } from "../../../fixtures/folder.ts";
import { DECODERS, fileOf } from "./fixtures.ts";

const SHAPE: PatchShape = {
  channels: 3,
  image: { height: 9, width: 11 },
  patch: { height: 4, width: 3 },
};
const PROCESSOR = readProcessor({ size: { height: 9, width: 11 } }, "it");

function patches(): Float32Array {
  return new Float32Array(patchCount(SHAPE) * patchNumbers(SHAPE)).fill(NaN);
}

Deno.test("openImageReader() gives the patches of each picture, the same each time", () =>
  withFolder(async (folder) => {
    const reader = await openImageReader(PROCESSOR, SHAPE, "it");
    for (const name of ["colour.png", "420.jpg", "grey.png"]) {
      const path = join(folder, name);
      Deno.writeFileSync(path, fileOf(name));
      const { hash, pixels } = reader.examine(path);
      const { image, values } = preprocess(readImage(fileOf(name), 3, DECODERS), PROCESSOR);
      const expected = patches();
      const decoded = readImage(fileOf(name), 3, DECODERS);
      assert.equal(pixels, decoded.width * decoded.height);
      patchesInto(expected, image, values, SHAPE.patch);
      for (let time = 0; time < 2; time++) {
        const rows = patches();
        reader.read(path, hash, rows);
        assertSameBits(name, rows, expected);
      }
    }
  }));

Deno.test("openImageReader() names a picture that is none, is gone, or has changed", () =>
  withFolder(async (folder) => {
    const reader = await openImageReader(PROCESSOR, SHAPE, "it");
    const path = join(folder, "a.png");
    assert.throws(() => reader.examine(path), /a\.png/);
    Deno.writeTextFileSync(path, "hello");
    assert.throws(() => reader.examine(path), ImageError);
    Deno.writeFileSync(path, fileOf("420.jpg"));
    const { hash } = reader.examine(path);
    Deno.writeFileSync(path, fileOf("colour.png"));
    assert.throws(() => reader.read(path, hash, patches()), /a\.png" has changed/);
    const damaged = fileOf("colour.png");
    damaged[damaged.length >> 1]! ^= 255;
    Deno.writeFileSync(path, damaged);
    const { hash: whole } = reader.examine(path);
    assert.throws(() => reader.read(path, whole, patches()), /a\.png" cannot be read: its data is damaged/);
    assert.throws(() => reader.read(path, whole, patches().subarray(1)), RangeError);
  }));

Deno.test("openImageReader() refuses a processor that gives another size or other channels", async () => {
  const open = (fields: Record<string, unknown>, shape: PatchShape = SHAPE) =>
    openImageReader(readProcessor(fields, "it"), shape, "it");
  await assert.rejects(
    open({}),
    /it makes pictures of 224 x 224 pixels, the model takes 11 x 9, as its positions are not/,
  );
  await assert.rejects(open({ size: { shortest_edge: 9 } }), /to a shortest edge without cropping/);
  const grey: PatchShape = { ...SHAPE, channels: 1 };
  await assert.rejects(
    open({ size: { height: 9, width: 11 } }, grey),
    /normalises 3 channels, the model takes 1/,
  );
  await open({ size: { height: 9, width: 11 }, image_mean: 0.5, image_std: 0.5 }, grey);
  const asTheyAre = await open({ do_resize: false });
  await withFolder((folder) => {
    const path = join(folder, "a.png");
    Deno.writeFileSync(path, fileOf("colour.png"));
    assert.throws(
      () => asTheyAre.read(path, asTheyAre.examine(path).hash, patches()),
      /it has 23 x 17 pixels, the model takes 11 x 9/,
    );
  });
});

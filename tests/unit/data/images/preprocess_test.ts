// SPDX-License-Identifier: Apache-2.0
/** What a model is given of a picture, against transformers' image processors. */
import assert from "node:assert/strict";
import type { Image } from "../../../../lib/data/images/image.ts";
import { patchesInto } from "../../../../lib/data/images/patches.ts";
import { preprocess } from "../../../../lib/data/images/preprocess.ts";
import { outputSize, readProcessor } from "../../../../lib/data/images/processor.ts";
import { assertSameBits } from "../../../compare.ts";
import { bytesOf, fixture } from "./fixtures.ts";

interface Processed {
  readonly config: Record<string, unknown>;
  readonly results: readonly { readonly shape: readonly number[]; readonly values: string }[];
}

interface Sources {
  readonly images: readonly { readonly width: number; readonly height: number; readonly pixels: string }[];
}

const records = fixture<Processed | Sources>("processed");
const images = records.flatMap((record) => "images" in record ? record.images : [])
  .map(({ pixels, ...size }): Image => ({ ...size, channels: 3, data: bytesOf(pixels) }));

/** (C,H,W) f32: one patch as large as the picture. */
function pixelValues(image: Image, values: Float32Array): Float32Array {
  const rows = new Float32Array(image.data.length);
  patchesInto(rows, image, values, image);
  return rows;
}

for (const record of records) {
  if (!("config" in record)) continue;
  Deno.test(`preprocess() gives transformers' bits for ${JSON.stringify(record.config)}`, () => {
    const processor = readProcessor(record.config, "preprocessor_config.json");
    images.forEach((source, i) => {
      const { shape, values } = record.results[i] as Processed["results"][number];
      const made = preprocess(source, processor);
      assert.deepEqual([3, made.image.height, made.image.width], shape);
      const expected = new Float32Array(bytesOf(values).buffer);
      assertSameBits(`picture ${i}`, pixelValues(made.image, made.values), expected);
    });
  });
}

Deno.test("preprocess() puts a picture into the middle of black, what is odd of it after the picture", () => {
  const image: Image = { width: 2, height: 1, channels: 1, data: Uint8Array.of(7, 9) };
  const processor = readProcessor(
    {
      do_resize: false,
      do_center_crop: true,
      crop_size: { height: 4, width: 5 },
      do_rescale: false,
      do_normalize: false,
    },
    "preprocessor_config.json",
  );
  const { image: cropped, values } = preprocess(image, processor);
  const black = [0, 0, 0, 0, 0];
  assert.deepEqual([...pixelValues(cropped, values)], [...black, 0, 7, 9, 0, 0, ...black, ...black]);
});

Deno.test("patchesInto() writes channel before row before column of each patch, row by row of patches", () => {
  const data = Uint8Array.from({ length: 5 * 4 * 3 }, (_, i) => i);
  const image: Image = { width: 5, height: 4, channels: 3, data };
  const values = Float32Array.from({ length: 768 }, (_, i) => (i & 255) + 1000 * (i >> 8));
  const rows = new Float32Array(2 * 2 * 12);
  patchesInto(rows, image, values, { height: 2, width: 2 });
  const expected = [];
  for (const [i, j] of [[0, 0], [0, 1], [1, 0], [1, 1]] as const) {
    for (let c = 0; c < 3; c++) {
      for (let y = 0; y < 2; y++) {
        for (let x = 0; x < 2; x++) {
          expected.push((((2 * i + y) * 5) + 2 * j + x) * 3 + c + 1000 * c);
        }
      }
    }
  }
  assertSameBits("patches", rows, expected);
});

Deno.test("readProcessor() takes a class's own defaults, older names and numbers for squares", () => {
  const read = (values: unknown) => readProcessor(values, "preprocessor_config.json");
  assert.deepEqual(read({}).resize, { to: { height: 224, width: 224 }, filter: "bilinear" });
  const deit = read({ image_processor_type: "DeiTImageProcessorFast", do_convert_rgb: null });
  assert.deepEqual(outputSize(deit), { height: 224, width: 224 });
  assert.deepEqual(deit.resize, { to: { height: 256, width: 256 }, filter: "bicubic" });
  assert.deepEqual(read({ feature_extractor_type: "ViTFeatureExtractor", size: 32 }).resize?.to, {
    height: 32,
    width: 32,
  });
  assert.equal(outputSize(read({ size: { shortest_edge: 32 } })), null);
  assert.deepEqual(read({ size: { height: 5, width: 6, shortest_edge: null } }).resize?.to, {
    height: 5,
    width: 6,
  });
});

Deno.test("readProcessor() names every field that it cannot follow, at once", () => {
  const wrong = {
    image_processor_type: "CLIPImageProcessor",
    do_resize: "yes",
    do_center_crop: true,
    crop_size: { height: 0, width: 4 },
    resample: 9,
    image_std: [1, 0, 1],
    image_mean: [1, 2],
    rescale_factor: "1/255",
    do_pad: true,
  };
  assert.throws(() => readProcessor(wrong, "preprocessor_config.json"), (error: Error) => {
    for (
      const name of [
        "CLIPImageProcessor",
        "do_resize",
        "crop_size",
        "image_std",
        "image_mean",
        "rescale_factor",
        "do_pad",
      ]
    ) {
      assert.ok(error.message.includes(`"${name}"`), `${name} in ${error.message}`);
    }
    return true;
  });
  const sizes = [{ shortest_edge: 5, longest_edge: 7 }, { height: 5 }, 1e9, -1, "5"];
  for (const size of sizes) assert.throws(() => readProcessor({ size }, "it"), /"size"/);
  assert.throws(() => readProcessor([], "it"), /no JSON object/);
});

// SPDX-License-Identifier: Apache-2.0
/** Picture files against Pillow, and files that are none. */
import assert from "node:assert/strict";
import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { MOST_PIXELS } from "../../../../lib/data/images/header.ts";
import { readImage } from "../../../../lib/data/images/read_image.ts";
import { assertSameBits } from "../../../compare.ts";
import { pngChunk, pngOf } from "../../../fixtures/png.ts";
import { bytesOf, type DecodedFile, DECODERS, fileOf, fixture, refusal } from "./fixtures.ts";

for (const { name, width, height, bytes, colour, grey } of fixture<DecodedFile>("decoded")) {
  Deno.test(`readImage() gives the pixels that Pillow gives of ${name}`, () => {
    for (const [channels, pixels] of [[3, colour], [1, grey]] as const) {
      const image = readImage(bytesOf(bytes), channels, DECODERS);
      assert.deepEqual([image.width, image.height, image.channels], [width, height, channels]);
      assertSameBits(`${name} with ${channels} channels`, image.data, bytesOf(pixels));
    }
  });
}

Deno.test("readImage() refuses a picture cut short at any byte, and what is no picture by its name", () => {
  for (
    const name of ["colour.png", "420.jpg", "progressive.jpg", "turned-6.jpg", "lossy.webp", "lossless.webp"]
  ) {
    const whole = fileOf(name);
    for (let length = 0; length < whole.length - 1; length += length < 40 ? 1 : 37) {
      const said = refusal(whole.subarray(0, length));
      assert.notEqual(said, null, `${name} of ${length} bytes`);
      if (length > 11) assert.match(said as string, /cut short|damaged/, `${name} of ${length} bytes`);
    }
  }
  const named: readonly (readonly [string, string])[] = [
    ["", "it is empty; PNG, JPEG and WebP are read"],
    ["hello", "it is no picture; PNG, JPEG and WebP are read"],
    ["GIF89a....", "it is a GIF; PNG, JPEG and WebP are read"],
    ["RIFF\0\0\0\0AVI LIST", "it is no picture; PNG, JPEG and WebP are read"],
    ["RIFF\x04\0\0\0WEBP", "it is a WebP without data"],
    ["PK\x03\x04", "it is a ZIP archive; PNG, JPEG and WebP are read"],
  ];
  for (const [text, said] of named) assert.equal(refusal(new TextEncoder().encode(text)), said);
});

Deno.test("readImage() refuses sizes that are nothing or too much before memory is taken", () => {
  const data = pngChunk("IDAT", deflateSync(new Uint8Array(64)));
  assert.equal(
    refusal(pngOf({ width: 0, height: 5 }, [data])),
    "it has 0 x 5 pixels, which is nothing",
  );
  for (
    const [width, height] of [[MOST_PIXELS + 1, 1], [60_000, 60_000], [2 ** 31 - 1, 2 ** 31 - 1]] as const
  ) {
    const said = `it has ${width} x ${height} pixels, more than the ${MOST_PIXELS} allowed; make it smaller`;
    assert.equal(refusal(pngOf({ width, height }, [data])), said);
  }
  const jpeg = fileOf("420.jpg").slice();
  const frame = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
  jpeg.fill(0xff, frame + 5, frame + 9);
  assert.match(refusal(jpeg) as string, /^it has 65535 x 65535 pixels, more than/);
});

Deno.test("readImage() refuses kinds of pictures that it would show otherwise than Pillow", () => {
  const data = pngChunk("IDAT", deflateSync(new Uint8Array(64)));
  assert.match(
    refusal(pngOf({ width: 2, height: 2, depth: 16, colour: 0 }, [data])) as string,
    /16 bits/,
  );
  const jpeg = fileOf("420.jpg").slice();
  const frame = jpeg.findIndex((byte, i) => byte === 0xff && jpeg[i + 1] === 0xc0);
  const changed = (at: number, value: number) => jpeg.with(frame + at, value);
  assert.match(refusal(changed(9, 4)) as string, /4 channels \(CMYK\)/);
  assert.match(refusal(changed(4, 12)) as string, /12 bits/);
  assert.match(refusal(changed(1, 0xc3)) as string, /lossless/);
});

Deno.test("readImage() makes a picture or one error of any damage", () => {
  const files = [
    "colour.png",
    "palette.png",
    "interlaced.png",
    "420.jpg",
    "progressive.jpg",
    "turned-6.png",
    "lossy.webp",
    "turned-6.webp",
  ]
    .map(fileOf);
  const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(fc.constantFrom(...files), damage, (whole, changes) => {
      const bytes = whole.slice();
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      const said = refusal(bytes);
      assert.ok(said === null || /^it(s| is| has) /.test(said), said ?? "");
    }),
    { numRuns: 300, seed: 11 },
  );
  for (const [i, file] of files.entries()) assert.equal(refusal(file), null, `file ${i} afterwards`);
});

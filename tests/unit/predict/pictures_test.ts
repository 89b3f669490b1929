// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import type { Dataset } from "../../../lib/data/dataset.ts";
import { decodedPictureBytes } from "../../../lib/predict/pictures.ts";

const MIB = 2 ** 20;

function pictures(count: number, mostPixels: number): Dataset {
  const offsets = Float64Array.from({ length: count + 1 }, (_, i) => i);
  return { offsets, pictures: { mostPixels } } as Dataset;
}

Deno.test("decodedPictureBytes() is near what 24 pictures took in a process of their own, whatever their size", () => {
  assert.equal(decodedPictureBytes([null, undefined, { offsets: new Float64Array(4) } as Dataset]), 0);
  // Growth of the resident size, largest of JPEG and PNG.
  for (const [millions, measured] of [[1, 60], [3, 116], [12, 363]] as const) {
    const found = decodedPictureBytes([pictures(24, millions * 1e6)]) / MIB;
    assert.ok(Math.abs(found / measured - 1) < 0.05, `${millions} million pixels: ${found} MiB`);
  }
  const small = decodedPictureBytes([pictures(200, 64)]);
  assert.ok(small < MIB, String(small));
  const both = decodedPictureBytes([pictures(1, 100), pictures(1, 1e6)]);
  assert.ok(both > decodedPictureBytes([pictures(1, 1e6)]) && both < decodedPictureBytes([pictures(2, 1e6)]));
});

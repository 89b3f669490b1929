// SPDX-License-Identifier: Apache-2.0
/** Pictures of another size, to the bit as Pillow has them. */
import { type Filter, FILTERS, resize } from "../../../../lib/data/images/resize.ts";
import type { Image } from "../../../../lib/data/images/image.ts";
import { assertSameBits } from "../../../compare.ts";
import { bytesOf, fixture } from "./fixtures.ts";

interface Resized {
  readonly width: number;
  readonly height: number;
  readonly channels: Image["channels"];
  readonly pixels: string;
  readonly results: readonly {
    readonly filter: Filter;
    readonly width: number;
    readonly height: number;
    readonly pixels: string;
  }[];
}

for (const filter of FILTERS) {
  Deno.test(`resize() gives Pillow's pixels with ${filter}, smaller and larger, at odd sizes`, () => {
    for (const { pixels, results, ...source } of fixture<Resized>("resized")) {
      const image = { ...source, data: bytesOf(pixels) };
      for (const expected of results.filter((result) => result.filter === filter)) {
        const { width, height } = expected;
        const { data } = resize(image, { width, height }, filter);
        assertSameBits(`${width} x ${height} of ${image.channels} channels`, data, bytesOf(expected.pixels));
      }
    }
  });
}

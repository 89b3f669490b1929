// SPDX-License-Identifier: Apache-2.0
/** What a picture takes of memory: that of its pixels, whatever its data inflates to. */
import assert from "node:assert/strict";
import { deflateSync } from "node:zlib";
import { openDecoders, readImage } from "../../lib/data/images/read_image.ts";
import { ImageError } from "../../lib/data/images/image.ts";
import { joined, pngChunk, pngOf } from "../fixtures/png.ts";

Deno.test("readImage() reads no more of a picture's data than its pixels: what inflates to 256 MiB costs nothing", async () => {
  const zeros = deflateSync(new Uint8Array(2 ** 28));
  const data = pngOf({ width: 3, height: 2 }, [pngChunk("IDAT", zeros)]);
  const profile = pngChunk("iCCP", joined([new TextEncoder().encode("x\0\0"), zeros]));
  const pixels = pngChunk("IDAT", deflateSync(new Uint8Array(20)));
  const beside = pngOf({ width: 3, height: 2 }, [profile, pixels]);
  const decoders = await openDecoders();
  const before = Deno.memoryUsage().external;
  assert.deepEqual([...readImage(data, 3, decoders).data], new Array(18).fill(0));
  assert.throws(() => readImage(beside, 3, decoders), ImageError);
  assert.ok(Deno.memoryUsage().external - before < 2 ** 27);
});

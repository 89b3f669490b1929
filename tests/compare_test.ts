// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { filesBelow } from "../scripts/folders.ts";
import { assertSame, assertSameBits } from "./compare.ts";

function nan(bits: number): Float32Array {
  return new Float32Array(Uint32Array.of(0x3f800000, bits).buffer);
}

Deno.test("assertSame() names the place of the first difference, both values, and how long each is", () => {
  const value = (last: number) => ({
    w: new Map([["a", [Uint8Array.of(1, 2), Uint8Array.of(3, last)]]]),
    x: 1,
  });
  assertSame(value(4), value(4));
  assert.throws(
    () => assertSame(value(5), value(4), "run"),
    /^AssertionError.*run\.w\.a\[1\]\[1\] is 5, expected exactly 4/,
  );
  assert.throws(() => assertSame([1, 2], [1]), /value: number of elements/);
  assert.throws(() => assertSame({ a: 1 }, {}), /value has 'a', which is not expected/);
  assert.throws(() => assertSame({}, { a: undefined }), /value has no 'a'/);
  assert.throws(() => assertSame({ a: "x" }, { a: 1 }), /value\.a is 'x', expected 1/);
  assert.throws(
    () => assertSame(Float32Array.of(1), Float64Array.of(1)),
    /value is Float32Array\(1\) \[ 1 \], expected/,
  );
  assert.throws(
    () => assertSame(new Set([1]), new Set([2])),
    /value is Set\(1\) \{ 1 \}, expected Set\(1\) \{ 2 \}/,
  );
  assert.throws(
    () => assertSame(Uint8Array.of(7).buffer, Uint8Array.of(8).buffer),
    /value\[0\] is 7, expected exactly 8/,
  );
});

Deno.test("assertSameBits() tells 0 from -0, and one NaN from another", () => {
  assertSameBits("y", nan(0x7fc00001), nan(0x7fc00001));
  assert.throws(
    () => assertSameBits("y", nan(0x7fc00001), nan(0x7fc00002)),
    /y\[1\] is NaN of bits 7fc00001, expected NaN of bits 7fc00002/,
  );
  assert.throws(() => assertSameBits("y", [0], [-0]), /y\[0\] is 0, expected exactly -0/);
  assertSameBits("y", [NaN, 1], Float32Array.of(NaN, 1));
});

Deno.test("assertSame() says at once how many bytes differ from others", () => {
  const bytes = (factor: number) => new Uint8Array(100_000).map((_, i) => Math.imul(i, factor) >>> 7);
  const startMs = performance.now();
  assert.throws(
    () => assertSame([bytes(40503)], [bytes(40507)]),
    /value\[0\]\[9\] is 31, expected exactly 32/,
  );
  assert.ok(performance.now() - startMs < 5000, "deepEqual() takes half an hour");
});

/** Arguments of which one is seen to be a typed array. */
const TYPED = [
  /(^|, )(await )?(new )?(Uint|Int|Float|BigInt|BigUint)\d+(Clamped)?Array\b/,
  /(^|, )(await )?([\w.]+\.)?(readFile|readFileSync|readBytesSync|readTensor|bitsOf|parameterBytes|adapterBytes)\(/,
  /(^|, )[\w.?]+\.(bits|lossMask|buffer)\b(?!\.)/,
];

/** What stands between the parentheses that are open at a place. */
function argumentsAt(text: string, start: number): string {
  let [depth, end] = [1, start];
  for (; depth > 0 && end < text.length; end++) depth += text[end] === "(" ? 1 : text[end] === ")" ? -1 : 0;
  return text.slice(start, end - 1);
}

Deno.test("no test compares typed arrays with deepEqual(), which is quadratic where they differ", async () => {
  const found: string[] = [];
  const folder = fileURLToPath(new URL("./", import.meta.url));
  for (const path of (await filesBelow(folder)).filter((path) => path.endsWith(".ts"))) {
    const text = await Deno.readTextFile(`${folder}${path}`);
    for (const call of text.matchAll(/\bdeep(Strict)?Equal\(/g)) {
      const args = argumentsAt(text, call.index + call[0].length);
      if (TYPED.some((form) => form.test(args))) found.push(`${path}: ${args}`);
    }
  }
  assert.deepEqual(found, [], "compare these with assertSame() of tests/compare.ts");
});

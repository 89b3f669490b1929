// SPDX-License-Identifier: Apache-2.0
/** Values as messages show them, as JSON tells them apart, and in bytes. */
import assert from "node:assert/strict";
import { BYTES_PER_ELEMENT } from "../../../lib/core/dtype.ts";
import {
  MachineError,
  NativeError,
  NotFiniteError,
  PlainError,
  UserError,
} from "../../../lib/core/errors.ts";
import { isJsonObject, jsonDifferences } from "../../../lib/core/json.ts";
import { parseJsonText } from "../../../lib/core/json_text.ts";
import { quotedNames, quotedValue } from "../../../lib/core/quoted.ts";
import { assertInteger, assertShape } from "../../../lib/core/shape.ts";
import { nearestName } from "../../../lib/core/suggestion.ts";

Deno.test("jsonDifferences() names every key that differs, nested ones with dots, missing ones as undefined", () => {
  assert.deepEqual(
    jsonDifferences({ a: 1, b: { c: [1, 2], d: null } }, { a: 1, b: { c: [1, 2], d: null } }),
    [],
  );
  assert.deepEqual(
    jsonDifferences(
      { a: 1, b: { c: [1, 2], d: null, e: 1 }, f: {}, h: [{ x: 1 }] },
      { a: "1", b: { c: [2, 1], d: null }, f: 3, g: false, h: [{ x: 2 }] },
    ),
    [
      { path: "a", before: 1, after: "1" },
      { path: "b.c", before: [1, 2], after: [2, 1] },
      { path: "b.e", before: 1, after: undefined },
      { path: "f", before: {}, after: 3 },
      { path: "h", before: [{ x: 1 }], after: [{ x: 2 }] },
      { path: "g", before: undefined, after: false },
    ],
  );
  assert.deepEqual(jsonDifferences(undefined, { a: 1 }), [{ path: "", before: undefined, after: { a: 1 } }]);
  assert.deepEqual([{}, [], null, "x", undefined].map(isJsonObject), [true, false, false, false, false]);
});

Deno.test("parseJsonText() finds a key that stands twice among few keys and among many, at every place", () => {
  for (let count = 1; count <= 12; count++) {
    const keys = Array.from({ length: count }, (_, i) => `"k${i}":0`);
    parseJsonText(`{${keys.join(",")}}`);
    for (let again = 0; again < count; again++) {
      const text = `{${keys.join(",")},"k${again}":1}`;
      assert.throws(() => parseJsonText(text), { message: `has the key "k${again}" twice: keep one` });
    }
  }
  parseJsonText('{"a":[1,2,{"b":3}]}', { keys: 1, values: 5, depth: 3 });
  assert.throws(() => parseJsonText('{"a":[1,2,{"b":3}]}', { depth: 2 }), /has more than 2 levels/);
  assert.throws(() => parseJsonText('{"a":[1,2,3,4]}', { values: 4 }), /has more than 4 values/);
  parseJsonText('{"a":[1,2,3]}', { values: 4 });
  parseJsonText('[{"a":1,"b":2},{"c":3}]', { keys: 0 });
  assert.throws(
    () => parseJsonText('{"a": NaN}'),
    /is not JSON: .* \(NaN and Infinity are no JSON numbers\)$/,
  );
  assert.throws(() => parseJsonText('{"a": }'), (error: Error) => !error.message.includes("NaN and"));
});

Deno.test("quotedNames() and quotedValue() cut what is long, and say how much is left", () => {
  assert.equal(quotedNames(["a", "b\n"]), '"a", "b\\n"');
  assert.equal(quotedNames(["1", "2", "3", "4", "5"]), '"1", "2", "3", "4", "5"');
  assert.equal(quotedNames(["1", "2", "3", "4", "5", "6", "7"]), '"1", "2", "3", "4", "5" and 2 more');
  assert.equal(quotedNames(["1", "2", "3"], 1), '"1" and 2 more');
  assert.equal(quotedNames([]), "");
  assert.deepEqual([NaN, -Infinity, 3, null, undefined].map((value) => quotedValue(value)), [
    "NaN",
    "-Infinity",
    "3",
    "null",
    "undefined",
  ]);
  assert.equal(quotedValue("x".repeat(118)), `"${"x".repeat(118)}"`);
  assert.equal(quotedValue("x".repeat(119)), `"${"x".repeat(119)}...`);
  assert.equal(quotedValue("abcdef", 4), '"abc...');
});

Deno.test("assertInteger() takes both ends of its range; assertShape() looks at every dimension", () => {
  for (const value of [1, 8]) assertInteger("n", value, 1, 8);
  for (const value of [0, 9, NaN, Infinity, 2 ** 53]) {
    assert.throws(() => assertInteger("n", value, 1, 8), RangeError);
  }
  assertInteger("n", Number.MAX_SAFE_INTEGER, 0);
  for (const shape of [[2, 3], [2, 3, 5], [1, 3, 4], [2, 2, 4], [2, 3, 4, 1]]) {
    assert.throws(() => assertShape("x", shape, [2, 3, 4]), RangeError);
  }
});

Deno.test("nearestName() takes the first of equals, and no name of which more than a third is other", () => {
  assert.equal(nearestName("abc", ["abd", "abe"]), "abd");
  assert.equal(nearestName("abcdef", ["abcdxy"]), "abcdxy");
  assert.equal(nearestName("abcdef", ["abcxyz"]), null);
  assert.equal(nearestName("ab", ["abc"]), "abc");
  assert.equal(nearestName("ab", ["abcd"]), null);
  assert.equal(nearestName("abcdefghi", ["abdcefghi", "abcdefgxx"]), "abdcefghi");
  assert.equal(nearestName("x", []), null);
});

Deno.test("errors keep their names, causes and parts, and each sentence its line", () => {
  const cause = new Error("why");
  const plain = new PlainError("a\nb", { cause, lines: ["c\nd"] });
  assert.equal(plain.message, "a\\nb\n  c\\nd");
  assert.equal(plain.cause, cause);
  for (const Kind of [UserError, MachineError, NotFiniteError]) {
    const error = new Kind("sentence", { cause });
    assert.deepEqual([error.name, error.message, error.cause], [Kind.name, "sentence", cause]);
    assert.ok(error instanceof PlainError);
  }
  const native = new NativeError("linear_forward", 2, "no memory");
  assert.deepEqual([native.name, native.op, native.code, native.message], [
    "NativeError",
    "linear_forward",
    2,
    "no memory",
  ]);
});

Deno.test("elements have the bytes of their types", () => {
  assert.deepEqual(BYTES_PER_ELEMENT, {
    f32: Float32Array.BYTES_PER_ELEMENT,
    f64: Float64Array.BYTES_PER_ELEMENT,
    bf16: Uint16Array.BYTES_PER_ELEMENT,
    f16: Uint16Array.BYTES_PER_ELEMENT,
    i32: Int32Array.BYTES_PER_ELEMENT,
    i16: Int16Array.BYTES_PER_ELEMENT,
    u16: Uint16Array.BYTES_PER_ELEMENT,
    u8: Uint8Array.BYTES_PER_ELEMENT,
    i64: BigInt64Array.BYTES_PER_ELEMENT,
  });
});

// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import fc from "fast-check";
import { parseJsonText } from "../../../lib/core/json_text.ts";

/** What is said of a text. */
function problem(json: string): string | null {
  try {
    parseJsonText(json);
    return null;
  } catch (error) {
    assert.equal((error as Error).name, "SyntaxError");
    return (error as Error).message;
  }
}

Deno.test("parseJsonText() names every key that an object has twice, however deep", () => {
  assert.equal(
    problem(`{"a":1,"b":{"a":2,"c":[{"a":1},{"a":2,"a":{}}]},"b":0,"\\u0061":"{\\"a\\":1,"}`),
    'has the keys "b.c.a", "b", "a" twice: keep one',
  );
  assert.equal(
    problem(`{"":"\\\\","x":"\\\\\\"","":2,"y":["a","a"],"z":{"a":"a"}}`),
    'has the key "" twice: keep one',
  );
  assert.match(
    problem(`${`{"a":`.repeat(499)}{"x":1,"x":2}${"}".repeat(499)}`) ?? "",
    /^has the key "a\.a\./,
  );
  const many = Array.from({ length: 20 }, (_, i) => `"${i}":0`).join(",");
  assert.equal(problem(`{${many},"3":1,"19":1}`), 'has the keys "3", "19" twice: keep one');
  assert.equal(problem(`{${'"a":1,'.repeat(100_000)}"a":1}`), 'has the key "a" twice: keep one');
});

Deno.test("parseJsonText() refuses depth, keys and values without end before anything is made of them", () => {
  const refused = (json: string, message: RegExp) => assert.match(problem(json) ?? "", message);
  parseJsonText(`${"[".repeat(500)}${"]".repeat(500)}`);
  refused("[".repeat(50_000_000), /^has more than 500 levels/);
  refused(`{"a":`.repeat(501), /^has more than 500 levels/);
  refused(`[${"0,".repeat(10_000_001)}0]`, /^has more than 10000000 values/);
  assert.throws(() => parseJsonText('{"a":1,"b":2,"c":{"d":1}}', { keys: 2 }), /more than 2 keys/);
  for (const text of ['{"a', '{"a\\', '{"a\\q":1}', "}]", '{"a":1}}', "[1,2"]) {
    refused(text, /^is not JSON: /);
  }
});

Deno.test("parseJsonText() gives what JSON.parse gives of whatever was written as JSON", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const text = JSON.stringify(value, null, 1);
      assert.deepEqual(parseJsonText(text), JSON.parse(text));
    }),
    { numRuns: 500, seed: 1 },
  );
});

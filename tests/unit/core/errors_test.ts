// SPDX-License-Identifier: Apache-2.0
/** Messages people read: errors, shapes, suggestions. */
import assert from "node:assert/strict";
import { throwIfAny, UserError, ValidationError } from "../../../lib/core/errors.ts";
import { assertInteger, assertLength, assertShape } from "../../../lib/core/shape.ts";
import { didYouMean, nearestName } from "../../../lib/core/suggestion.ts";

Deno.test("ValidationError lists every problem and is a UserError", () => {
  const error = new ValidationError("run.json", ["lr is -1", "topK is 0"]);
  assert.ok(error instanceof UserError);
  assert.deepEqual(error.problems, ["lr is -1", "topK is 0"]);
  assert.equal(error.message, "run.json has 2 problems:\n  - lr is -1\n  - topK is 0");
  assert.equal(error.name, "ValidationError");
});

Deno.test("throwIfAny() throws only when there is a problem", () => {
  throwIfAny("run.json", []);
  assert.throws(() => throwIfAny("run.json", ["lr is -1"]), ValidationError);
});

Deno.test("assertShape() names the tensor and both shapes", () => {
  assertShape("x", [2, 3], [2, 3], "T,D");
  assert.throws(() => assertShape("x", [2, 3], [2, 4], "T,D"), {
    name: "RangeError",
    message: "x has shape (2,3), expected (T,D) = (2,4)",
  });
  assert.throws(() => assertShape("x", [2], [2, 4]), /x has shape \(2\), expected \(2,4\)/);
});

Deno.test("assertLength() and assertInteger() name the value and what was expected", () => {
  assertLength("ids", [1, 2], 2);
  assert.throws(() => assertLength("ids", [1, 2], 3), /ids has 2 elements, expected 3/);
  assertInteger("topK", 3, 1);
  assert.throws(() => assertInteger("topK", 1.5, 1), /topK is 1.5, expected a whole number of at least 1/);
  assert.throws(() => assertInteger("topK", 9, 1, 8), /topK is 9, expected a whole number from 1 to 8/);
});

Deno.test("nearestName() forgives a swap, a slip and case, but not another word", () => {
  const names = ["top-k", "gate", "experts"];
  assert.equal(nearestName("top-q", names), "top-k");
  assert.equal(nearestName("gaet", names), "gate");
  assert.equal(nearestName("Expert", names), "experts");
  assert.equal(nearestName("seed", names), null);
  assert.equal(didYouMean("gat", names), '; did you mean "gate"?');
  assert.equal(didYouMean("seed", names), "");
});

Deno.test("ValidationError keeps all problems and spells out the first fifty", () => {
  const error = new ValidationError("run.json", Array.from({ length: 60 }, (_, i) => `problem ${i}`));
  assert.equal(error.problems.length, 60);
  assert.match(error.message, /^run\.json has 60 problems:\n[^]*problem 49\n {2}- and 10 more$/);
});

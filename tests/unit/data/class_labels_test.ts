// SPDX-License-Identifier: Apache-2.0
/** Labels of rows as numbers of classes. */
import assert from "node:assert/strict";
import { classNames, classNumber } from "../../../lib/data/class_labels.ts";

Deno.test("classNames() sorts names, and gives numbers transformers' names", () => {
  assert.deepEqual(classNames(["dog", "cat", "dog", "Zebra"]), ["Zebra", "cat", "dog"]);
  assert.deepEqual(classNames([2, 0, 2]), ["LABEL_0", "LABEL_1", "LABEL_2"]);
  assert.deepEqual(classNames([]), []);
  assert.throws(() => classNames(["dog", 1]), /"label" is 1 in one row and "dog" in another/);
  assert.throws(() => classNames([1e12]), /"label" is 1000000000000, expected a number below/);
});

Deno.test("classNumber() knows names and numbers, and lists the classes there are to any other label", () => {
  const names = ["cat", "dog", "2"];
  assert.deepEqual(["cat", "dog", "2", 0, 2].map((label) => classNumber(label, names)), [0, 1, 2, 0, 2]);
  const said = (label: string | number | null) => {
    try {
      return classNumber(label, names);
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(said("dig"), '"label" is "dig", expected one of "cat", "dog", "2"; did you mean "dog"?');
  assert.equal(said(3), '"label" is 3, expected a number from 0 to 2 or one of "cat", "dog", "2"');
  assert.equal(said(-1), '"label" is -1, expected a number from 0 to 2 or one of "cat", "dog", "2"');
  assert.equal(said(null), 'the row has no "label"');
});

// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, strictEqual, throws } from "node:assert/strict";
import type { ValidationError } from "../../../lib/core/errors.ts";
import { expandGrid, type Grid, joinCells, settingText } from "../../../lib/study/grid.ts";

Deno.test("expandGrid() multiplies settings, the first changing slowest, over the base", () => {
  const cells = expandGrid({ lr: 1e-3, topK: 8 }, { topK: [4, 16], seed: [1, 2, 3] });
  deepStrictEqual(cells.map(({ label }) => label), [
    "topK=4 seed=1",
    "topK=4 seed=2",
    "topK=4 seed=3",
    "topK=16 seed=1",
    "topK=16 seed=2",
    "topK=16 seed=3",
  ]);
  deepStrictEqual(cells[4]?.settings, { lr: 1e-3, topK: 16, seed: 2 });
  deepStrictEqual(cells[4]?.parts, [{ part: "grid", series: null, varied: ["topK", "seed"] }]);
});

Deno.test("expandGrid() runs several grids one after the other, sets single values, and takes lists in lists whole", () => {
  const cells = expandGrid({}, [
    { part: "size", method: "lora", rank: [2, 8], loraAlpha: 4 },
    { part: "target", series: "some", method: "lora", target: [["q", "v"], "all"] },
  ]);
  deepStrictEqual(cells.map(({ settings }) => settings), [
    { method: "lora", rank: 2, loraAlpha: 4 },
    { method: "lora", rank: 8, loraAlpha: 4 },
    { method: "lora", target: ["q", "v"] },
    { method: "lora", target: "all" },
  ]);
  deepStrictEqual(cells.map(({ parts }) => parts[0]?.part), ["size", "size", "target", "target"]);
  strictEqual(cells[2]?.parts[0]?.series, "some");
  strictEqual(cells[2]?.label, "method=lora target=q+v");
  deepStrictEqual(cells[0]?.parts[0]?.varied, ["rank"]);
});

Deno.test("expandGrid() leaves out base settings that a cell's method has no use for", () => {
  const base = { neurons: 256, topK: 16, rank: 4, lr: 1e-3 };
  const cells = expandGrid(base, { method: ["sparse", "parallel", "lora", "full"] });
  deepStrictEqual(cells.map(({ settings }) => settings), [
    { neurons: 256, topK: 16, lr: 1e-3, method: "sparse" },
    { neurons: 256, lr: 1e-3, method: "parallel" },
    { rank: 4, lr: 1e-3, method: "lora" },
    { lr: 1e-3, method: "full" },
  ]);
});

Deno.test("expandGrid() goes by the epochs of a grid where the base has a number of steps, which would win over them", () => {
  const base = { steps: 5, lr: 1 };
  deepStrictEqual(expandGrid(base, { epochs: [1, 2] }).map(({ settings }) => settings), [
    { lr: 1, epochs: 1 },
    { lr: 1, epochs: 2 },
  ]);
  deepStrictEqual(expandGrid({ epochs: 5 }, { steps: 3 })[0]?.settings, { epochs: 5, steps: 3 });
  deepStrictEqual(expandGrid(base, { epochs: 1, steps: 3 })[0]?.settings, { lr: 1, epochs: 1, steps: 3 });
});

Deno.test("expandGrid() of an empty grid is the base alone", () => {
  deepStrictEqual(expandGrid({ lr: 1 }, {}).map(({ label, settings }) => ({ label, settings })), [
    { label: "base", settings: { lr: 1 } },
  ]);
});

Deno.test("expandGrid() lists all mistakes at once, each with its grid", () => {
  const grids = [
    { part: "a", topk: [1] },
    { method: ["sparse", "lora"], topK: [4] },
    { lr: [] },
  ] as unknown as Grid[];
  throws(
    () => expandGrid({ epoch: 3 } as never, grids),
    (error) => {
      deepStrictEqual((error as ValidationError).problems, [
        'base: there is no setting "epoch"; did you mean "epochs"?',
        'grid 1 (a): there is no setting "topk"; did you mean "topK"?',
        "grid 2 (grid): topK does not apply to method lora, only to sparse; give lora a grid of its own",
        "grid 3 (grid): lr has no values to go through",
      ]);
      return true;
    },
  );
  throws(() => expandGrid({}, []), /there is no grid/);
  throws(() => expandGrid({}, { lr: undefined } as never), /grid: lr is undefined; leave it out/);
  throws(
    () => expandGrid({ method: "lora" }, { topK: [4] }),
    /topK does not apply to method lora, only to sparse/,
  );
  const [unknown] = expandGrid({}, { method: "lroa", topK: 4 });
  strictEqual(unknown?.label, "method=lroa topK=4", "a method that is none is told where it is made");
});

Deno.test("joinCells() keeps the first cell and the parts of both", () => {
  const [a, b, c] = expandGrid({}, [{ part: "x", topK: [4] }, { part: "y", lr: [1] }, {
    part: "x",
    clip: 1,
  }]);
  const joined = joinCells(joinCells(a!, b!), c!);
  deepStrictEqual(joined.parts.map(({ part, varied }) => [part, varied]), [["x", ["topK"]], ["y", ["lr"]]]);
  strictEqual(joined.label, "topK=4");
});

Deno.test("expandGrid() makes no study of more cells than anybody runs", () => {
  const many = Array.from({ length: 300 }, (_, i) => i + 1);
  strictEqual(
    expandGrid({}, [{ lr: many, seed: many.slice(0, 16) }, { clip: many.slice(0, 200) }]).length,
    5000,
  );
  throws(
    () => expandGrid({}, [{ lr: many, seed: many.slice(0, 16) }, { clip: many.slice(0, 201) }]),
    /grid 2 \(grid\): it would be 5001 cells, at most 5000 are planned/,
  );
  throws(
    () => expandGrid({}, { lr: many, seed: many, clip: many, weightDecay: many }),
    /it would be 8100000000 cells, at most 5000 are planned/,
  );
  throws(() => expandGrid({}, [{ lr: many }, { lr: many, seed: many }]), /it would be 90300 cells/);
});

Deno.test("settingText() tells every value from any other in a word", () => {
  deepStrictEqual(
    [1e-3, true, "raw", ["q", "v"], [], { q: 4, v: 8 }, {}, { day: "Monday", in: [1] }].map(settingText),
    ["0.001", "true", "raw", "q+v", "", "q=4+v=8", "", '{"day":"Monday","in":[1]}'],
  );
});

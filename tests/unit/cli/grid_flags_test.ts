// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual } from "node:assert/strict";
import { settingName } from "../../../lib/cli/flags/settings.ts";
import { GRID_FLAGS, readGrids, uselessFlags } from "../../../lib/cli/flags/grid.ts";
import { SETTING_NAMES } from "../../../lib/train/setting_table.ts";

/** Grids, or the problems where there are any. */
function read(texts: readonly string[], seeds: readonly string[] = []): unknown {
  const problems: string[] = [];
  const grids = readGrids(texts, seeds, problems);
  return problems.length > 0 ? problems : grids;
}

Deno.test("readGrids() makes one grid of the command line's, with seeds", () => {
  deepStrictEqual(read(["top-k=4,16", "gate=raw,none", "packing=true,false", "target=q+v,all"], ["1,2"]), [{
    topK: [4, 16],
    gate: ["raw", "none"],
    packing: [true, false],
    target: [["q", "v"], ["all"]],
    seed: [1, 2],
  }]);
  deepStrictEqual(read(["topK=4"]), [{ topK: [4] }]);
  deepStrictEqual(read(["template-option=a=1,b=x+c=[2]", "thinking=on,off"]), [{
    templateOptions: [{ a: 1 }, { b: "x", c: [2] }],
    thinking: ["on", "off"],
  }]);
  deepStrictEqual(read([]), [{}]);
  deepStrictEqual(read([], ["[1,2]"]), [{ seed: [1, 2] }]);
});

Deno.test("readGrids() takes each object of a config file for itself, single values too", () => {
  const texts = [
    '{"part": "a", "series": "s", "top-k": [4, 16], "lr": 0.5}',
    '{"seed": 7, "target": [["q", "v"]], "templateOptions": [{"day": "Monday"}, {}]}',
  ];
  deepStrictEqual(read(texts, ["1", "2"]), [
    { part: "a", series: "s", topK: [4, 16], lr: 0.5, seed: [1, 2] },
    { seed: 7, target: [["q", "v"]], templateOptions: [{ day: "Monday" }, {}] },
  ]);
});

Deno.test("readGrids() finds all mistakes at once", () => {
  deepStrictEqual(
    read(["top-j=4", "lr=0,1", "gate=row", "out=a", "neurons", "lr=2", "{bad", '{"part": 3}'], ["x"]),
    [
      '--grid top-j=4: "top-j" is no flag of train; did you mean top-k?',
      '--grid lr=0,1 is "0", expected a number above 0',
      '--grid gate=row is "row", expected one of raw, softmax, sigmoid, none; did you mean raw?',
      '--grid out=a: "out" says nothing of a cell',
      "--grid neurons: expected KEY=value,value",
      "--grid lr=2: lr is given twice",
      'grid 7 is {bad, expected an object such as {"seq-len": [256, 1024]}',
      'grid 8: "part" is 3, expected text',
      '--seeds is "x", expected a whole number from 0 up to 4294967295',
    ],
  );
});

Deno.test("uselessFlags() names what no cell heeds: values that every grid replaces, and sizes of other methods", () => {
  const [one, two] = [{ topK: [4, 16] }, { method: ["full", "lora"] as const, neurons: [8] }];
  deepStrictEqual(uselessFlags({ "top-k": 8, model: "m" }, [one]), [
    "--top-k and the grid's own top-k exclude each other: keep one",
  ]);
  deepStrictEqual(uselessFlags({ "top-k": 8 }, [one, two]), []);
  deepStrictEqual(uselessFlags({ rank: 8, lr: 1 }, [one, two]), []);
  deepStrictEqual(uselessFlags({ rank: 8, lr: 1 }, [one]), [
    "--rank does not apply to --method sparse, only to lora",
  ]);
  deepStrictEqual(uselessFlags({ rank: 8, method: "lora" }, [one]), []);
  deepStrictEqual(uselessFlags({ gate: "raw" }, [{ method: "full" }, { method: "lora" }]), [
    "--gate does not apply to --method full or lora, only to sparse",
  ]);
  deepStrictEqual(uselessFlags({ seed: 5, seeds: ["1"] }, [{ seed: [1] }]), [
    "--seed and --seeds exclude each other: keep one",
  ]);
  deepStrictEqual(read(["seed=1,2"], ["3"]), [
    "--seeds and the grid's own seed exclude each other: keep one",
  ]);
});

Deno.test("a path of a grid keeps its commas and plus signs as JSON", () => {
  deepStrictEqual(read(['{"data": [["a,b+c.jsonl"], ["d,e.jsonl", "f"]], "adapter": "g,h+i"}']), [
    { data: [["a,b+c.jsonl"], ["d,e.jsonl", "f"]], adapter: "g,h+i" },
  ]);
});

Deno.test("every flag that a grid goes through is a setting", () => {
  deepStrictEqual(
    GRID_FLAGS.map(({ name }) => settingName(name)).filter((name) => !SETTING_NAMES.includes(name)),
    [],
  );
});

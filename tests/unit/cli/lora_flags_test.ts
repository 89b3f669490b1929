// SPDX-License-Identifier: Apache-2.0
/** The flags that choose LoRA's weights, layers, ranks and alphas: as a command line, a config file or a grid writes them. */
import { deepStrictEqual } from "node:assert/strict";
import type { Flag } from "../../../lib/cli/flags/flags.ts";
import { readValue } from "../../../lib/core/option_values.ts";
import { readGrids } from "../../../lib/cli/flags/grid.ts";
import { TRAIN_FLAGS } from "../../../lib/cli/flags/train.ts";
import { runOptionsOf, type TrainSettings } from "../../../lib/train/settings.ts";

/** A flag's value, or the problems with it. */
function read(name: string, raw: unknown): unknown {
  const problems: string[] = [];
  const flag = TRAIN_FLAGS.find((flag) => flag.name === name) as Flag;
  const value = readValue(flag, `--${name}`, raw, problems);
  return problems.length > 0 ? problems : value;
}

Deno.test("--target takes words and names, joined by commas or not, and one pattern with whatever is in it", () => {
  deepStrictEqual(read("target", ["q,v,down"]), ["q", "v", "down"]);
  deepStrictEqual(read("target", ["q_proj", "self_attn.k_proj,v"]), ["q_proj", "self_attn.k_proj", "v"]);
  deepStrictEqual(read("target", [".*\\.[0-9]{1,2}\\.(q|v)_proj"]), [".*\\.[0-9]{1,2}\\.(q|v)_proj"]);
  deepStrictEqual(read("exclude-target", "mlp.up_proj"), ["mlp.up_proj"]);
});

Deno.test("--layers-to-transform takes numbers and ranges, --rank-pattern and --alpha-pattern KEY=NUMBER", () => {
  deepStrictEqual(read("layers-to-transform", ["0,2-4", "9"]), [0, 2, 3, 4, 9]);
  deepStrictEqual(read("layers-to-transform", 3), [3]);
  deepStrictEqual(read("layers-to-transform", ["x", "4-2", "-1"]), [
    '--layers-to-transform is "x", expected a whole number from 0',
    '--layers-to-transform is "4-2", expected a whole number from 0',
    '--layers-to-transform is "-1", expected a whole number from 0',
  ]);
  deepStrictEqual(read("rank-pattern", ["q_proj=16", "layers\\.(?=1).*=4"]), {
    "q_proj": 16,
    "layers\\.(?=1).*": 4,
  });
  deepStrictEqual(read("alpha-pattern", { q_proj: 0.5 }), { q_proj: 0.5 });
  deepStrictEqual(read("rank-pattern", ["q_proj", "v=x", "=3"]), [
    '--rank-pattern has "q_proj", expected KEY=NUMBER',
    '--rank-pattern has "v=x", expected KEY=NUMBER',
    '--rank-pattern has "=3", expected KEY=NUMBER',
  ]);
});

Deno.test("grids go through targets, layers and patterns; a regular expression is one value", () => {
  const problems: string[] = [];
  const texts = [
    "target=q+v_proj,all",
    "exclude-target=.*\\.(0|1)\\..*[a-z]+,x",
    "layers-to-transform=0-1+5,2",
    "rank-pattern=q=4+v=2,q=8",
  ];
  deepStrictEqual(readGrids(texts, [], problems), [{
    target: [["q", "v_proj"], ["all"]],
    excludeTarget: [[".*\\.(0|1)\\..*[a-z]+,x"]],
    layersToTransform: [[0, 1, 5], [2]],
    rankPattern: [{ q: 4, v: 2 }, { q: 8 }],
  }]);
  const object =
    '{"target": [["q"], ".*q_proj"], "rank-pattern": {"q": 4}, "layers-to-transform": [[0, 1], 2]}';
  deepStrictEqual(readGrids([object], [], problems), [{
    target: [["q"], [".*q_proj"]],
    rankPattern: { q: 4 },
    layersToTransform: [[0, 1], [2]],
  }]);
  deepStrictEqual(problems, []);
});

Deno.test("a list of one text that is no name is a pattern for the adapter", () => {
  const options = (settings: TrainSettings) =>
    runOptionsOf({ method: "lora", ...settings }, null, null).method?.adapter.options;
  deepStrictEqual(options({ target: [".*q_proj"], excludeTarget: ["k"] }), {
    targets: ".*q_proj",
    excludeTargets: ["k"],
  });
  deepStrictEqual(options({ target: ["q", "v"], layersToTransform: [1], rankPattern: { q: 2 } }), {
    targets: ["q", "v"],
    layersToTransform: [1],
    rankPattern: { q: 2 },
  });
});

// SPDX-License-Identifier: Apache-2.0
/** Which weights get a delta, and of what size: as PEFT decides it, for options in every form. */
import assert from "node:assert/strict";
import type { AdapterParams } from "../../../../lib/adapters/adapter.ts";
import { baseRecord } from "../../../../lib/adapters/files/base_model.ts";
import { loraAdapter } from "../../../../lib/adapters/lora/lora.ts";
import { resolveLora } from "../../../../lib/adapters/lora/config.ts";
import type { LoraOptions } from "../../../../lib/adapters/lora/options.ts";
import { type LoraTable, placeLora } from "../../../../lib/adapters/lora/table.ts";
import type { OptionSource } from "../../../../lib/adapters/option_source.ts";
import { PEFT_LORA_FORMAT } from "../../../../lib/adapters/files/peft_lora_format.ts";
import type { JsonObject } from "../../../../lib/core/json.ts";
import { modelSites } from "../../../../lib/models/modules.ts";
import { readConfig } from "../../../../lib/models/read_config.ts";
import type { ModelConfig } from "../../../../lib/models/model.ts";
import { modelFixture } from "../../../fixtures/model_fixture.ts";

/** Rank and scale of each site's delta, by layer. */
type Places = Readonly<Record<string, Readonly<Record<string, readonly [rank: number, scale: number]>>>>;

interface Case {
  readonly model: number;
  readonly fields: JsonObject;
  /** What PEFT refuses the fields with. */
  readonly error?: string;
  /** Modules that PEFT adapts and that have no place here. */
  readonly foreign?: readonly string[];
  readonly places?: Places;
}

const { models, cases } = JSON.parse(
  Deno.readTextFileSync(new URL("../../../fixtures/lora_places.json", import.meta.url)),
) as {
  readonly models: readonly {
    readonly checkpoint: string;
    readonly layers: number;
    readonly head: boolean;
  }[];
  readonly cases: readonly Case[];
};

function configOf(model: number): ModelConfig {
  const { checkpoint, layers } = models[model] as (typeof models)[number];
  const config = readConfig(modelFixture(checkpoint).dir, []);
  assert.ok(config);
  return { ...config, numHiddenLayers: layers };
}

/** What a folder with these fields means on a model. @param head Whether its tensors are those of a model with a head */
function placed(fields: JsonObject, config: ModelConfig, head: boolean) {
  const problems: string[] = [];
  const root = head ? "model." : "";
  const file = {
    metadata: {},
    shapes: new Map([[`base_model.model.${root}layers.0.self_attn.q_proj.lora_A.weight`, [2, 24]]]),
  };
  const { options, source } = PEFT_LORA_FORMAT.read({ peft_type: "LORA", ...fields }, file, problems);
  const { adapter, problems: more } = loraAdapter(options, config, source && { source });
  const { settings, problems: none } = resolveLora(options, modelSites(config), source);
  const table = none.length > 0 ? [] : placeLora(settings, config, { source: source as OptionSource }).table;
  return { adapter, table, problems: [...problems, ...more] };
}

function placesOf(table: LoraTable): Places {
  const layers = table.map((sites, layer) =>
    [
      String(layer),
      Object.fromEntries([...sites].map(([site, { rank, scale }]) => [site, [rank, scale] as const])),
    ] as const
  );
  return Object.fromEntries(layers.filter(([, sites]) => Object.keys(sites).length > 0));
}

Deno.test("a folder of PEFT's has deltas where PEFT has them, of its ranks and scales, and what it refuses is refused", () => {
  assert.ok(cases.length > 300);
  let [compared, refused] = [0, 0];
  for (const { model, fields, error, foreign, places } of cases) {
    const { head } = models[model] as (typeof models)[number];
    const config = configOf(model);
    const where = `${JSON.stringify(fields)} on model ${model}`;
    const { table, adapter, problems } = placed(fields, config, head);
    if (places === undefined) {
      assert.ok(problems.length > 0, `${where} is refused: ${error ?? foreign}`);
      for (const name of foreign ?? []) {
        assert.ok(problems.some((problem) => problem.includes(name)), `${where}: ${name} in ${problems}`);
      }
      refused++;
      continue;
    }
    assert.deepEqual(problems, [], where);
    assert.deepEqual(placesOf(table), places, where);
    // Saved again, for a model with a head, and read again.
    const params = { adapter } as unknown as AdapterParams;
    const written = PEFT_LORA_FORMAT.config(params, {
      base: baseRecord({ name: "base", hash: "" }, "."),
      ...{ tensorsHash: "", taskType: null },
    });
    const again = placed(written, config, true);
    assert.deepEqual(again.problems, [], `${where}, written as ${JSON.stringify(written)}`);
    assert.deepEqual(placesOf(again.table), places, `${where}, written as ${JSON.stringify(written)}`);
    assert.deepEqual(again.adapter.config, adapter.config, where);
    compared++;
  }
  assert.ok(compared > 150 && refused > 80, `${compared} compared, ${refused} refused`);
});

/** Deltas of options that a user gives, as `layer.site:rank*scale`. */
function given(options: LoraOptions, layers = 3): string[] {
  const config = { ...configOf(0), numHiddenLayers: layers };
  const { settings, problems } = resolveLora(options, modelSites(config));
  assert.deepEqual(problems, []);
  const places = placeLora(settings, config, { source: { by: "user" } });
  assert.deepEqual(places.problems, []);
  return places.table.flatMap((sites, layer) =>
    [...sites].map(([site, { rank, scale }]) => `${layer}.${site}:${rank}*${scale}`)
  );
}

Deno.test("targets are words, ends of names, one pattern, or all; in any order and each once", () => {
  assert.deepEqual(given({ targets: ["down", "q"] }, 1), ["0.q:8*2", "0.down:8*2"]);
  assert.deepEqual(given({ targets: ["q_proj", "q", "mlp.down_proj"] }, 1), ["0.q:8*2", "0.down:8*2"]);
  assert.deepEqual(given({ targets: "v" }, 2), ["0.v:8*2", "1.v:8*2"]);
  assert.deepEqual(given({ targets: "layers.1.mlp.up_proj" }), ["1.up:8*2"]);
  assert.deepEqual(given({ targets: String.raw`.*\.[12]\..*(?:gate|up)_proj` }), [
    "1.gate:8*2",
    "1.up:8*2",
    "2.gate:8*2",
    "2.up:8*2",
  ]);
  for (const all of ["all", "all-linear", "All-Linear", ["all"], ["q", "all-linear"]]) {
    assert.equal(given({ targets: all }, 1).length, 7, JSON.stringify(all));
  }
  assert.deepEqual(given({ targets: null }, 1), ["0.q:8*2", "0.v:8*2"]);
  const layers = given({
    targets: ["q"],
    layersToTransform: [2, 0],
    excludeTargets: ["layers.0.self_attn.q_proj"],
  });
  assert.deepEqual(layers, ["2.q:8*2"]);
  assert.deepEqual(given({ targets: "all", layersToTransform: 1, excludeTargets: ".*mlp.*" }), [
    "1.q:8*2",
    "1.k:8*2",
    "1.v:8*2",
    "1.o:8*2",
  ]);
});

Deno.test("ranks and alphas go by the first pattern that matches; words stand for their weights", () => {
  const sized = given({
    targets: ["q", "v"],
    rank: 4,
    alpha: 8,
    rankPattern: { q: 2, "layers\\.0\\..*": 16 },
    alphaPattern: { v_proj: 32 },
  }, 2);
  assert.deepEqual(sized, ["0.q:2*4", "0.v:16*2", "1.q:2*4", "1.v:4*8"]);
  assert.deepEqual(
    given({ targets: ["q"], rank: 4, useRslora: true, rankPattern: { "1.self_attn.q_proj": 16 } }, 2),
    [
      "0.q:4*8",
      "1.q:16*4",
    ],
  );
});

Deno.test("what matches nothing is a mistake in a new adapter, and said with the way out", () => {
  const said = (options: LoraOptions): string => {
    const { problems } = loraAdapter(options, configOf(0));
    return problems.join("\n");
  };
  assert.match(
    said({ targets: ["q_porj"] }),
    /targets has "q_porj", which is the end of no module's name .* did you mean "q_proj"\?/,
  );
  assert.match(said({ targets: [".*q_proj"] }), /a regular expression stands alone, not in a list/);
  assert.match(
    said({ targets: ["lm_head", "q"] }),
    /targets \["q_proj","lm_head"\] takes in lm_head, which can have no delta here/,
  );
  assert.match(said({ targets: ".*" }), /takes in model and \d+ more, which can have no delta here/);
  assert.match(
    said({ targets: "layers\\..*_proj" }),
    /matches no weight of the model's layers: names are such as model\.layers\.0/,
  );
  assert.match(
    said({ targets: "(" }),
    /targets has "\(", which is no regular expression .*: missing \), unterminated subpattern at position 0/,
  );
  assert.match(said({ targets: "(a)\\1.*" }), /a back reference \\1 is not supported/);
  assert.match(said({ excludeTargets: ["x"] }), /excludeTargets has "x"/);
  assert.match(
    said({ excludeTargets: "mlp.*" }),
    /excludeTargets "mlp\.\*" matches no module of the model: it must match whole names/,
  );
  assert.match(
    said({ layersToTransform: [1, 3, 9] }),
    /layersToTransform has 3, 9, but the model has layers 0 to 2/,
  );
  assert.match(
    said({ rankPattern: { q_porj: 2 } }),
    /rankPattern has "q_porj", which matches no weight that gets a delta/,
  );
  assert.match(
    said({ targets: ["q"], alphaPattern: { v: 2 } }),
    /alphaPattern has "v_proj", which matches no weight/,
  );
  assert.match(
    said({ rankPattern: { q: 1.5 } }),
    /rankPattern has 1.5 for "q", expected a whole number of at least 1/,
  );
  assert.match(said({ alphaPattern: { q: 0 } }), /alphaPattern has 0 for "q", expected a number above 0/);
  assert.match(
    said({ targets: ".*q_proj", layersToTransform: [0] }),
    /layersToTransform does not go with a regular expression/,
  );
  assert.match(said({ layersPattern: "layers" }), /layersPattern says nothing without layersToTransform/);
  assert.match(
    said({ targets: ["q"], excludeTargets: ["q"] }),
    /targets \["q_proj"\], with excludeTargets \["q"\], matches no weight/,
  );
});

Deno.test("a pattern that would never end is given up with a reason", () => {
  const { problems } = loraAdapter({ targets: `(?:${".{0,40}".repeat(200)}){0,40}x` }, configOf(1));
  assert.match(problems.join(), /takes too long to match/);
});

Deno.test("a folder of PEFT's that leaves everything out means what PEFT's LoraConfig means by default", () => {
  // peft 0.7 to 0.21: r 8, lora_alpha 8, lora_dropout 0, use_rslora False, target_modules q_proj and v_proj in all our families.
  const config = configOf(0);
  const { adapter, table, problems } = placed({}, config, true);
  assert.deepEqual(problems, []);
  assert.deepEqual(adapter.config, { rank: 8, alpha: 8, dropout: 0, useRslora: false, targets: ["q", "v"] });
  assert.equal(table.at(-1)?.size, 0, "a head of tokens has no place");
  for (const sites of table.slice(0, -1)) {
    const size = { rank: 8, alpha: 8, scale: 1 };
    assert.deepEqual([...sites], [["q", size], ["v", size]]);
  }
  // Each option is that of the file where there is one, and the others stay.
  const one = (fields: JsonObject) => {
    const read = placed(fields, config, true);
    assert.deepEqual(read.problems, []);
    return read.adapter.config;
  };
  const defaults = adapter.config;
  assert.deepEqual(one({ r: 4 }), { ...defaults, rank: 4 });
  assert.deepEqual(one({ lora_alpha: 32 }), { ...defaults, alpha: 32 });
  assert.deepEqual(one({ lora_alpha: 0 }), { ...defaults, alpha: 0 });
  assert.deepEqual(one({ lora_dropout: 0.25 }), { ...defaults, dropout: 0.25 });
  assert.deepEqual(one({ use_rslora: true }), { ...defaults, useRslora: true });
  assert.deepEqual(one({ target_modules: ["up_proj"] }), { ...defaults, targets: ["up"] });
  assert.deepEqual(one({ rank_pattern: { v_proj: 2 } }), { ...defaults, rankPattern: { v_proj: 2 } });
  // Ours for a new adapter are others.
  assert.deepEqual(loraAdapter({}, config).adapter.config, {
    rank: 8,
    alpha: 16,
    dropout: 0,
    useRslora: false,
    targets: ["q", "k", "v", "o", "gate", "up", "down"],
  });
});

Deno.test("a folder of PEFT's knows its base by name, and by hash only where we wrote it beside the tensors", () => {
  const read = (fields: JsonObject, metadata: Record<string, string> = {}) =>
    PEFT_LORA_FORMAT.read({ peft_type: "LORA", ...fields }, { metadata, shapes: new Map() }, []).base;
  assert.deepEqual(read({}), { name: null, hash: null, path: null, relativePath: null });
  assert.equal(read({ base_model_name_or_path: "" }).name, null);
  assert.equal(read({ base_model_name_or_path: "some/model" }).name, "some/model");
  const beside = {
    base_model_hash: "h",
    base_model_path: "/p",
    base_model_relative_path: "../p",
    format: "pt",
  };
  assert.deepEqual(read({ base_model_name_or_path: "n", base_model_hash: "x" }, beside), {
    name: "n",
    hash: "h",
    path: "/p",
    relativePath: "../p",
  });
});

// SPDX-License-Identifier: Apache-2.0
/** What each setting of the flat record becomes, and what stands where one is left out. */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  dataOptionsOf,
  formatOptionsOf,
  methodName,
  openOptionsOf,
  runOptionsOf,
  type TrainSettings,
} from "../../../lib/train/settings.ts";
import { methodsOf, once, type Setting, SETTING_NAMES, SETTINGS } from "../../../lib/train/setting_table.ts";
import type { SavedAdapter } from "../../../lib/adapters/files/saved_adapter.ts";
import { withFolder } from "../../fixtures/folder.ts";

/** A value of each setting of a run that is no default, and where `runOptionsOf` puts it. */
const OF_RUNS: readonly (readonly [keyof TrainSettings, unknown, string, unknown?])[] = [
  ["seqLen", 31, "batch.seqLen"],
  ["batchSize", 17, "batch.size"],
  ["microBatchSize", 5, "batch.micro"],
  ["packing", true, "batch.packing"],
  ["steps", 19, "steps"],
  ["epochs", 3, "epochs"],
  ["seed", 7, "seed"],
  ["activations", "recompute", "activations"],
  ["reversibleLayers", 3, "reversibleLayers"],
  ["anchorEvery", 2, "anchorEvery"],
  ["placement", "device", "placement"],
  ["halves", "2", "halves", 2],
  ["halves", 1, "halves"],
  ["halves", "auto", "halves"],
  ["cachedRows", 11, "cachedRows"],
  ["saveEvery", 13, "saveEvery"],
  ["saveLimit", 23, "saveTotalLimit"],
  ["evalEvery", 29, "evalEvery"],
  ["lr", 0.25, "optimizer.options.lr"],
  ["weightDecay", 0.125, "optimizer.options.weightDecay"],
  ["beta1", 0.5, "optimizer.options.beta1"],
  ["beta2", 0.75, "optimizer.options.beta2"],
  ["adamEps", 1e-3, "optimizer.options.eps"],
  ["adam", "lazy", "optimizer.options.mode"],
  ["clipBy", "layer", "optimizer.options.clipBy"],
  ["clip", 2, "optimizer.options.clip"],
  ["clip", 0, "optimizer.options.clip", null],
  ["schedule", "cosine", "optimizer.options.schedule", { kind: "cosine", warmupRatio: 0.02 }],
  ["warmupRatio", 0.5, "optimizer.options.schedule", { kind: "linear", warmupRatio: 0.5 }],
  ["neurons", 12, "method.adapter.options.neurons"],
  ["experts", 6, "method.adapter.options.experts"],
  ["activeExperts", 2, "method.adapter.options.activeExperts"],
  ["topK", 3, "method.adapter.options.topK"],
  ["gate", "none", "method.adapter.options.gate"],
  ["scope", "union", "method.adapter.options.scope"],
  ["keys", "frozen", "method.adapter.options.keys"],
  ["rank", 9, "method.adapter.options.rank"],
  ["loraAlpha", 18, "method.adapter.options.alpha"],
  ["loraDropout", 0.25, "method.adapter.options.dropout"],
  ["rslora", true, "method.adapter.options.useRslora"],
  ["target", ["q", "v"], "method.adapter.options.targets"],
  ["target", ["q_proj"], "method.adapter.options.targets"],
  ["target", [".*q_proj"], "method.adapter.options.targets", ".*q_proj"],
  ["excludeTarget", [".*(up|down)"], "method.adapter.options.excludeTargets", ".*(up|down)"],
  ["excludeTarget", ["up"], "method.adapter.options.excludeTargets"],
  ["layersToTransform", [1], "method.adapter.options.layersToTransform"],
  ["rankPattern", { q: 2 }, "method.adapter.options.rankPattern"],
  ["alphaPattern", { v: 5 }, "method.adapter.options.alphaPattern"],
  ["loraBias", "all", "method.adapter.options.bias"],
  ["wiring", "meft2", "method.adapter.options.wiring"],
  ["lambda", 0.5, "method.adapter.options.lambda"],
  ["beta", 0.25, "method.adapter.options.beta"],
  ["switchStreams", true, "method.adapter.options.switchStreams"],
  ["streams", "f32", "method.adapter.options.streams"],
  ["fractionBits", 11, "method.adapter.options.fractionBits"],
  ["combination", "alpha", "method.adapter.options.combination"],
  ["bottleneck", 4, "method.adapter.options.bottleneck"],
  ["bottleneckDropout", 0.5, "method.adapter.options.bottleneckDropout"],
  ["frozenLayers", 1, "method.adapter.options.frozenLayers"],
  ["modulesToSave", ["norm"], "method.adapter.options.modulesToSave"],
  ["trainableTokenIndices", [5], "method.adapter.options.trainableTokenIndices"],
  ["ensureWeightTying", true, "method.adapter.options.ensureWeightTying"],
  ["method", "lora", "method.name"],
];

/** Where no run looks. */
const NOT_OF_RUNS: readonly (keyof TrainSettings)[] = [
  "model",
  "addTokens",
  "addSpecialTokens",
  "addTokensFrom",
  "padVocabularyTo",
  "task",
  "newHead",
  "device",
  "dtype",
  "threads",
  "data",
  "lossOn",
  "targetLen",
  "sourceField",
  "targetField",
  "sourcePrefix",
  "srcLang",
  "tgtLang",
  "chatTemplate",
  "thinking",
  "system",
  "templateOptions",
  "badRows",
  "dataCache",
  "evalData",
  "adapter",
];

/** Leaves of nested records, by dotted path; lists, patterns and schedules count as leaves. */
function leaves(value: unknown, path = ""): Map<string, unknown> {
  const isLeaf = typeof value !== "object" || value === null || Array.isArray(value) ||
    /(schedule|Pattern|format)$/.test(path);
  if (isLeaf) return new Map([[path, value]]);
  const inner = Object.entries(value as object).flatMap(([key, entry]) => [
    ...leaves(entry, path === "" ? key : `${path}.${key}`),
  ]);
  return new Map(inner);
}

Deno.test("runOptionsOf() puts every setting where it belongs, and changes nothing else", () => {
  const without = leaves(runOptionsOf({}, null, null));
  const seen = new Set(OF_RUNS.map(([name]) => name));
  assert.deepEqual([...seen, ...NOT_OF_RUNS].sort(), [...SETTING_NAMES].sort());
  for (const [name, value, place, expected = value] of OF_RUNS) {
    const found = leaves(runOptionsOf({ [name]: value }, null, null));
    assert.deepEqual(found.get(place), expected, name);
    const ofMethod = name === "method" ? ["method.summary", "method.adapter.kind", "method.headLr"] : [];
    for (const path of new Set([...found.keys(), ...without.keys()])) {
      if (path !== place && !ofMethod.includes(path)) {
        assert.deepEqual(found.get(path), without.get(path), `${name}: ${path}`);
      }
    }
  }
});

Deno.test("runOptionsOf() leaves to plan() and to the method what is not said", () => {
  const { method, optimizer, batch, format, ...rest } = runOptionsOf({}, null, null);
  assert.deepEqual([method?.name, method?.adapter.options, batch], ["sparse", {}, {}]);
  assert.deepEqual(optimizer?.options, { schedule: { kind: "linear", warmupRatio: 0.02 } });
  assert.deepEqual(format, { chatTemplate: "auto", thinking: "auto", templateOptions: {} });
  assert.deepEqual(rest, { start: null, out: null });
  assert.equal(runOptionsOf({}, null, "/out").out, "/out");
});

Deno.test("methodName() is what is said, then the adapter's to start from, then sparse", () => {
  const start = { spec: { kind: "lora" } } as SavedAdapter;
  assert.equal(methodName({ method: "parallel" }, start), "parallel");
  assert.equal(methodName({}, start), "lora");
  assert.equal(methodName({}, null), "sparse");
  const options = runOptionsOf({}, start, null);
  assert.deepEqual([options.start, options.method?.name], [start, "lora"]);
});

Deno.test("dataOptionsOf() has every setting of the data, and its defaults", () =>
  withFolder(async (folder) => {
    const defaults = {
      chatTemplate: "auto",
      thinking: "auto",
      templateOptions: {},
      seqLen: 256,
      lossOn: "completion",
      badRows: "stop",
      cache: true,
    };
    assert.deepEqual(dataOptionsOf({}), defaults);
    const format = {
      chatTemplate: "off",
      thinking: "on",
      system: "be brief",
      ...{ sourceField: "a", targetField: "b", sourcePrefix: "c: ", srcLang: "en_XX", tgtLang: "de_DE" },
      templateOptions: { a: 1 },
    } as const;
    const said = { ...format, seqLen: 31, targetLen: 9, lossOn: "all", badRows: "skip" } as const;
    const { cache, ...others } = dataOptionsOf({ ...said, dataCache: "off" });
    assert.deepEqual(others, said);
    assert.equal(cache, false);
    assert.equal(dataOptionsOf({ dataCache: "on" }).cache, true);
    const name = join(folder, "own.jinja");
    await Deno.writeTextFile(name, "{{ messages }}");
    const own = { jinja: "{{ messages }}", name };
    assert.deepEqual(formatOptionsOf({ chatTemplate: name }).chatTemplate, own);
    assert.deepEqual(formatOptionsOf({ chatTemplate: own }).chatTemplate, own);
  }));

Deno.test("openOptionsOf() says where the model runs, as far as that was said", () => {
  assert.deepEqual(openOptionsOf({ device: "cpu", dtype: "f32", threads: 3, seed: 1 }), {
    device: "cpu",
    dtype: "f32",
    threads: 3,
  });
  assert.deepEqual(openOptionsOf({}), {});
});

Deno.test("methodsOf() names the methods of settings that are not for all", () => {
  const of = (methods: readonly string[] | null) =>
    SETTING_NAMES.filter((name) => JSON.stringify(methodsOf(name)) === JSON.stringify(methods));
  const sparse = ["experts", "activeExperts", "topK", "gate", "scope", "keys"];
  const lora = ["rank", "loraAlpha", "loraDropout", "rslora", "target", "excludeTarget"];
  const parts = ["modulesToSave", "trainableTokenIndices", "ensureWeightTying"];
  const patterns = ["layersToTransform", "rankPattern", "alphaPattern", "loraBias"];
  const reversible = ["bottleneck", "meft1", "meft2", "meft3"];
  assert.deepEqual(of(["sparse", "parallel", ...reversible]), ["neurons"]);
  assert.deepEqual(of(["sparse"]), [...sparse, "placement", "halves", "cachedRows", "adam"]);
  assert.deepEqual(of(["lora"]), [...lora, ...patterns]);
  assert.equal(of(null).length, SETTING_NAMES.length - 21);
  const ofAdapters = SETTINGS.filter(({ owner }) => owner === "adapter").map(({ name }) => name);
  assert.deepEqual(ofAdapters, [
    "neurons",
    ...sparse,
    ...lora,
    ...patterns,
    ...["wiring", "lambda", "beta", "switchStreams", "streams", "fractionBits", "combination", "bottleneck"],
    ...["bottleneckDropout", "frozenLayers"],
    ...parts,
  ]);
});

Deno.test("two options that are not one cannot take the same name; what adapters share is one setting, with both defaults", () => {
  const [neurons, lr] = ["neurons", "lr"].map((name) =>
    SETTINGS.find((setting) => setting.name === name)
  ) as [Setting, Setting];
  assert.deepEqual(once([neurons, lr, neurons]), [neurons, lr]);
  assert.deepEqual([neurons.defaultText, neurons.methods], [
    "4096; parallel 1024; bottleneck 8",
    ["sparse", "parallel", "bottleneck", "meft1", "meft2", "meft3"],
  ]);
  for (const other of [{ kind: "text" }, { owner: "run" }, { option: "count" }] as const) {
    assert.throws(
      () => once([neurons, { ...neurons, ...other }]),
      /Setting "neurons" is declared as integer neurons/,
    );
  }
  assert.equal(new Set(SETTINGS.map(({ flag }) => flag)).size, SETTINGS.length);
});

// SPDX-License-Identifier: Apache-2.0
/** What the help says of a flag that is not given is what a run then does. */
import assert from "node:assert/strict";
import { COMMANDS } from "../../../lib/cli/commands/registry.ts";
import { dataOptions } from "../../../lib/cli/flags/data.ts";
import type { FlagValues } from "../../../lib/cli/flags/flags.ts";
import { defaultText } from "../../../lib/core/options.ts";
import { readRunOptions } from "../../../lib/cli/flags/train_options.ts";
import { plan, type Run } from "../../../lib/train/plan.ts";
import { smallModel } from "../train/small_run.ts";

function shownDefault(command: string, flag: string): string | null {
  const spec = COMMANDS.find(({ name }) => name === command);
  const found = spec?.flags.find(({ name }) => name === flag);
  if (found === undefined) throw new Error(`${command} has no flag --${flag}`);
  return defaultText(found);
}

function planned(values: FlagValues = {}): Run {
  // The tiny model knows fewer positions than a row has by default.
  const model = smallModel();
  const roomy = { ...model, config: { ...model.config, maxPositionEmbeddings: 4096 } };
  return plan(roomy, readRunOptions(values, null, null));
}

Deno.test("train runs with the defaults that its help names", () => {
  const { settings, adapterKind, optimizer, rows, method } = planned();
  const rate = optimizer.config as Record<string, unknown>;
  const schedule = rate.schedule as Record<string, unknown>;
  const adapter = adapterKind.config as Record<string, unknown>;
  const lora = planned({ method: "lora" }).adapterKind.config as Record<string, unknown>;
  const data = dataOptions({});
  const found: Record<string, unknown> = {
    "seq-len": settings.batch.seqLen,
    "loss-on": data.lossOn,
    "chat-template": data.chatTemplate,
    thinking: data.thinking,
    "bad-rows": data.badRows,
    "data-cache": data.cache ? "on" : "off",
    method: method.name,
    "active-experts": adapter.activeExperts,
    "top-k": adapter.topK,
    gate: adapter.gate,
    scope: adapter.scope,
    keys: adapter.keys,
    rank: lora.rank,
    "lora-alpha": lora.alpha,
    "lora-dropout": lora.dropout,
    schedule: schedule.kind,
    "warmup-ratio": schedule.warmupRatio,
    "weight-decay": rate.weightDecay,
    adam: rate.mode,
    beta1: rate.beta1,
    beta2: rate.beta2,
    clip: rate.clip,
    epochs: settings.epochs,
    "batch-size": settings.batch.size,
    "micro-batch-size": settings.batch.micro,
    activations: settings.activations,
    seed: settings.seed,
    "save-limit": settings.saveTotalLimit,
  };
  for (const [flag, value] of Object.entries(found)) {
    assert.equal(String(value), shownDefault("train", flag), flag);
  }
  assert.equal(data.seqLen, settings.batch.seqLen);
  assert.equal(shownDefault("train", "adam-eps"), "1e-8");
  assert.equal(rate.eps, 1e-8);
  assert.equal(shownDefault("train", "clip-by"), "all");
  assert.deepEqual(planned({ "clip-by": "all" }).optimizer.config, rate);
  // Where a default depends on something.
  assert.equal(shownDefault("train", "neurons"), "4096; parallel 1024; bottleneck 8");
  assert.deepEqual([adapter.neurons, planned({ method: "parallel" }).adapterKind.config.neurons], [
    4096,
    1024,
  ]);
  assert.equal(shownDefault("train", "experts"), "4 * sqrt(neurons)");
  assert.deepEqual([adapter.experts, planned({ neurons: 1024 }).adapterKind.config.experts], [256, 128]);
  assert.equal(
    shownDefault("train", "lr"),
    "1e-4; bottleneck 5e-4; full 1e-5; meft1 5e-4; meft2 5e-4; meft3 5e-4; more with labels",
  );
  assert.deepEqual([rate.lr, planned({ method: "full" }).optimizer.config.lr], [1e-4, 1e-5]);
  assert.equal(shownDefault("train", "placement"), "auto");
  assert.deepEqual([rows.placement, rows.halves], ["host", 1], "without a device");
  assert.deepEqual([lora.targets, lora.useRslora], [["q", "k", "v", "o", "gate", "up", "down"], false]);
  assert.deepEqual([settings.batch.packing, settings.steps, settings.saveEvery, settings.evalEvery], [
    ...[false, null, null, null],
  ]);
});

Deno.test("every flag with a value says in the help what it is without one, or that it has none", () => {
  const silent = COMMANDS.map(({ name, flags }) => [
    name,
    flags.filter((flag) => flag.kind !== "switch" && defaultText(flag) === null).map(({ name }) => name)
      .sort(),
  ]);
  const optional = [
    "exclude-target",
    "rank-pattern",
    "alpha-pattern",
    "steps",
    "eval-data",
    "source-prefix",
    "system",
    "template-option",
  ];
  assert.deepEqual(Object.fromEntries(silent), {
    train: [...optional, "eval-every", "save-every"].sort(),
    ablate: [...optional, "grid"].sort(),
    evaluate: ["predictions", "source-prefix", "stop", "system", "template-option"],
    generate: ["predictions", "prompts", "source-prefix", "stop", "system", "template-option"],
    preview: ["source-prefix", "system", "template-option"],
    merge: ["adapter", "out"],
    report: ["run"],
    doctor: [],
    completion: [],
  });
});

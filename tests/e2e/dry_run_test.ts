// SPDX-License-Identifier: Apache-2.0
/** A dry run's tables against its JSON object: each number in its own row and unit. */
import assert from "node:assert/strict";
import { runCommand } from "../../lib/cli/program.ts";
import { TRAIN } from "../../lib/cli/commands/train.ts";
import { formatBytes, formatMilliseconds } from "../../lib/report/format.ts";
import type { DevicePrediction } from "../../lib/predict/device_memory.ts";
import type { DryRun } from "../../lib/predict/dry_run.ts";
import { withFolder } from "../fixtures/folder.ts";
import { overheard } from "../fixtures/said.ts";

const FLAGS = [
  ...[
    "--model",
    "notebooks/demo/model",
    "--data",
    "notebooks/demo/facts.jsonl",
    "--data-cache",
    "off",
    "--seq-len",
    "64",
  ],
  ...["--neurons", "64", "--threads", "1", "--steps", "7", "--dry-run", "--json"],
];

/** A dry run's object, and its tables' cells by the name of their row. */
async function dryRunOf(device: string) {
  const { code, errors, results } = await overheard(() => runCommand(TRAIN, [...FLAGS, "--device", device]));
  assert.equal(code, 0, errors.join("\n"));
  const lines = errors.join("\n").split("\n");
  const rows = new Map(
    lines.map((line) => line.trim().split(/ {2,}/)).map(([name = "", ...cells]) => [name, cells]),
  );
  return { rows, lines, found: JSON.parse(results[0] as string) as DryRun & { readonly data: unknown } };
}

Deno.test("a dry run on the CPU tells memory by class, work and time as its JSON object has them", async () => {
  const { rows, lines, found } = await dryRunOf("cpu");
  const { memory: { bytes, logitsBytes, totalBytes }, time, work, load } = found;
  const first = (name: string) => rows.get(name)?.[0];
  const expected = {
    weights: bytes.weights,
    activations: bytes.activations! - logitsBytes,
    logits: logitsBytes,
    workspace: bytes.workspace,
    together: totalBytes,
    "peak of the process": Math.round(found.processPeakBytes),
    "KV cache": found.kvCacheBytesPerSequence,
  };
  for (const [name, count] of Object.entries(expected)) {
    assert.equal(first(name), formatBytes(count as number), name);
  }
  assert.equal(totalBytes, Object.values(bytes).reduce((sum, count) => sum + count, 0));
  assert.equal(first("parameters"), formatBytes(bytes.parameters!));
  assert.equal(first("optimizer"), formatBytes(bytes.optimizer!));
  assert.equal(first("gradients"), formatBytes(bytes.gradients!));
  const recomputed = formatBytes(found.activationsByPolicy.recompute! - logitsBytes);
  assert.equal(
    rows.get("activations")?.[1],
    `store, micro-batches of up to ${found.batches.later?.tokens} tokens; recompute: ${recomputed}`,
  );
  assert.equal(first("tokens of a step"), `${Math.round(load.tokens)}, ${Math.round(load.targets)} targets`);
  const operations = work.linearForward + work.linearBackward + work.attention + work.adapter;
  assert.equal(first("operations of a step"), `${(operations / 1e9).toPrecision(3)} GFLOP`);
  const parts = [
    ...[["products", time.products], ["attention", time.attention], ["adapter", time.adapter]] as const,
    ...[["norms and sums", time.streams], ["update", time.update]] as const,
  ].map(([name, ms]) => `${name} ${formatMilliseconds(ms)}`);
  assert.equal(first("time of a step"), `about ${formatMilliseconds(time.stepMs)} (${parts.join(", ")})`);
  const sum = time.products + time.attention + time.adapter + time.streams + time.update;
  assert.ok(Math.abs(time.stepMs - sum) <= 1e-6 * sum, "a step takes as long as its parts");
  assert.ok(Math.abs(time.tokensPerSecond - load.tokens / time.stepMs * 1000) <= 1e-6 * time.tokensPerSecond);
  assert.equal(first("all steps"), `7: about ${formatMilliseconds(7 * time.stepMs)}`);
  const { linearForward, bandwidth } = found.rates;
  assert.match(
    first("measured here") ?? "",
    new RegExp(
      `^${(linearForward / 1e9).toFixed(0)} GFLOP/s of products, ${(bandwidth / 1e9).toFixed(1)} GB/s, in `,
    ),
  );
  assert.match(lines.at(-1) ?? "", /^It fits: /);
});

Deno.test("a dry run for a device has a column a placement, and no times of this machine", async () => {
  const { rows, found } = await dryRunOf("cuda");
  const [host, device] = found.device;
  assert.ok(host && device);
  assert.deepEqual([host.placement, device.placement], ["host", "device"]);
  assert.deepEqual(rows.get("GPU memory"), ["placement host", "placement device"]);
  const both = (of: (one: DevicePrediction) => number) =>
    [host, device].map((one) => formatBytes(Math.round(of(one))));
  assert.deepEqual(rows.get("adapter"), both((one) => one.device.adapter));
  assert.deepEqual(rows.get("context, libraries (an estimate)"), both((one) => one.device.context));
  assert.deepEqual(rows.get("pinned"), both((one) => one.pinned));
  assert.deepEqual(rows.get("up"), both((one) => one.pcie.up));
  assert.deepEqual(rows.get("down"), both((one) => one.pcie.down));
  assert.deepEqual(rows.get("optimizer"), both((one) => one.host.optimizer));
  for (const one of [host, device]) {
    assert.equal(one.deviceTotal, Object.values(one.device).reduce((sum, count) => sum + count, 0));
  }
  assert.deepEqual([found.time, rows.has("time of a step"), rows.has("measured here")], [null, false, false]);
  assert.deepEqual(rows.get("matrix products"), ["bf16"], "what a GPU multiplies in");
});

Deno.test("a dry run needs no more of a model than its config.json: neither weights nor tokenizer", () =>
  withFolder(async (folder) => {
    const config = JSON.parse(Deno.readTextFileSync("notebooks/demo/model/config.json"));
    Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(config));
    for (const method of ["sparse", "full"]) {
      const flags = ["--model", folder, "--method", method, "--seq-len", "64", "--threads", "1"];
      const said = await overheard(() => runCommand(TRAIN, [...flags, "--dry-run", "--json"]));
      assert.equal(said.code, 0, said.errors.join("\n"));
      const { memory, weights } = JSON.parse(said.results[0] as string);
      assert.equal(weights, false);
      assert.ok(memory.bytes.activations > 0 && memory.bytes.parameters > 0);
    }
  }));

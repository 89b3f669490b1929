// SPDX-License-Identifier: Apache-2.0
/** The GPU benchmark end to end in miniature: emulated where there is no GPU, with PyTorch where that is installed. */
import assert from "node:assert/strict";
import { benchGpu } from "../../scripts/bench/gpu/gpu.ts";
import { cellTable, rivalTable, verdictTable } from "../../scripts/bench/gpu/gpu_report.ts";
import { requirePackages } from "../../scripts/parity/python.ts";
import { openTestDevice } from "../cuda_library.ts";

const { backend } = openTestDevice();
const LIMITS = { f32Gflops: 100, bf16Gflops: 100, readGigabytes: 10, updateGigabytes: 10 };

Deno.test(`deno task bench gpu --quick measures cells on ${backend}, and says what it did not measure`, async () => {
  const folder = await Deno.makeTempDir();
  const hasPyTorch = await requirePackages().then(() => true, () => false);
  try {
    const found = await benchGpu({
      quick: true,
      threads: 2,
      seed: 1,
      only: ["recompute, a=1, host", "recompute, a=2, cache r=64", "16 tokens, frozen"],
      minutes: null,
      folder,
      hostLimits: LIMITS,
      onProgress: () => {},
    });
    assert.deepEqual(found.cells.map(({ cell }) => cell.name), [
      "16 tokens, recompute, a=1, host r=32",
      "16 tokens, recompute, a=1, host r=64",
      "16 tokens, recompute, a=2, cache r=64",
    ]);
    assert.equal(found.device?.backend, backend);
    for (const { lossFirst, stepMs, frozenMs, trained, peak } of found.cells) {
      assert.ok(Math.abs(lossFirst - Math.log(64)) < 0.5, `a random model's loss is ${lossFirst}`);
      assert.ok(stepMs.median > 0 && frozenMs.median > 0 && trained > 0 && peak.total > 0);
    }
    const [small, large, cached] = found.cells;
    assert.equal(small?.peak.total, large?.peak.total, "memory of placement host does not grow with r");
    assert.equal(cached?.placement?.placement, "device");
    assert.ok((cached?.peak.classes["cache"] ?? 0) > 0, "rows lie on the device");
    assert.deepEqual(Object.keys(found.unmeasured), hasPyTorch ? [] : ["16 tokens, frozen"]);
    assert.equal(found.rivals.length, Number(hasPyTorch));
    assert.ok(found.verdicts.length === 8 && found.verdicts[0]?.verdict === "met");
    const tables = [
      cellTable(found.cells),
      rivalTable(found.rivals, found.cells),
      verdictTable(found.verdicts),
    ];
    for (const table of tables) assert.ok(!/NaN|undefined/.test(table), table);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "deno task bench gpu keeps going when a process that measures ends, and says what was lost to it",
  ignore: backend === "cuda",
  fn: async () => {
    const folder = await Deno.makeTempDir();
    Deno.env.set("MEFT_EMULATED_BYTES", "100000"); // no room for a block of activations
    try {
      const found = await benchGpu({
        quick: true,
        threads: 2,
        seed: 1,
        only: ["a=1, host"],
        minutes: null,
        folder,
        hostLimits: LIMITS,
        onProgress: () => {},
      });
      assert.equal(found.cells.length, 0);
      assert.equal(Object.keys(found.unmeasured).length, 4);
      for (const reason of Object.values(found.unmeasured)) assert.match(reason, /ended before it answered/);
      assert.ok(found.verdicts.every(({ verdict }) => verdict === "not measured"));
    } finally {
      Deno.env.delete("MEFT_EMULATED_BYTES");
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  name: "deno task bench gpu measures no 7B model on the emulated device, and says so at once",
  ignore: backend === "cuda",
  fn: async () => {
    await assert.rejects(
      benchGpu({
        quick: false,
        threads: 2,
        seed: 1,
        only: [],
        minutes: null,
        folder: "",
        hostLimits: LIMITS,
        onProgress: () => {},
      }),
      /emulated one: only --quick/,
    );
  },
});

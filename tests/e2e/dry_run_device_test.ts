// SPDX-License-Identifier: Apache-2.0
/** What is predicted of a GPU, and how near runs come to it on the device that there is: emulated where there is no other. */
import assert from "node:assert/strict";
import { libraryPath } from "../../lib/native/library.ts";
import { openTestDevice } from "../cuda_library.ts";
import { runCommandLine, SMALL_RUN } from "./command.ts";

openTestDevice();
const DEVICE = { MEFT_CUDA_LIBRARY: libraryPath("cuda") };

/** The shape of Llama 7B. */
const LLAMA_7B = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  vocab_size: 32000,
  max_position_embeddings: 4096,
  hidden_act: "silu",
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  attention_bias: false,
  tie_word_embeddings: false,
  torch_dtype: "bfloat16",
};

Deno.test("train --dry-run --device cuda predicts a 7B model's GPU, host and PCIe bytes without a GPU", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(LLAMA_7B));
    const batch = ["--batch-size", "8", "--micro-batch-size", "1", "--seq-len", "1024"];
    const flags = ["--dry-run", "--device", "cuda", "--activations", "recompute", ...batch];
    const { code, stdout, stderr } = await runCommandLine(
      "train",
      "--model",
      `${folder}/config.json`,
      ...flags,
      "--json",
    );
    assert.equal(code, 0, stderr);
    const { device, time, memory } = JSON.parse(stdout);
    assert.equal(time, null, "a GPU's time cannot be told without one");
    const [host] = device;
    assert.equal(host.placement, "host");
    // The memory plan's formulas: weights 2(L(4d^2 + 3dF) + 2dV) with the norms, block inputs of at least 2LMd.
    assert.equal(host.device.weights, 13_476_831_232);
    assert.ok(host.device.activations >= 2 * 32 * 1024 * 4096, String(host.device.activations));
    assert.ok(host.deviceTotal > 14.4e9 && host.deviceTotal < 15.6e9, String(host.deviceTotal));
    assert.ok(host.device.adapter < 0.03 * host.deviceTotal, "placement host puts next to nothing there");
    assert.equal(
      host.pcie.up,
      32 * 8 * 2 * 4 * 1024 * 4096,
      "y and dh of all layers and micro-batches in f32",
    );
    assert.equal(host.pcie.down, host.pcie.up);
    assert.equal(host.host.parameters, memory.bytes.parameters);
    assert.match(stderr, /^context, libraries \(an estimate\) /m);
    assert.doesNotMatch(stderr, /time of a step/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("train on the device ends with what it predicted of GPU memory and PCIe beside what came", async () => {
  const out = await Deno.makeTempDir();
  const environment = Deno.env.toObject();
  try {
    Object.entries(DEVICE).forEach(([name, value]) => Deno.env.set(name, value));
    const { code, stdout, stderr } = await runCommandLine(
      "train",
      ...SMALL_RUN,
      ...["--micro-batch-size", "4", "--steps", "1", "--device", "cuda", "--dtype", "f32"],
      ...["--out", `${out}/run`, "--json"],
    );
    assert.equal(code, 0, stderr);
    const result = JSON.parse(stdout);
    const error = (measured: number, predicted: number): number => Math.abs(predicted / measured - 1);
    assert.ok(error(result.pcieBytes, result.predictedPcieBytes) < 0.2, JSON.stringify(result));
    // Blocks of 64 MiB and a tiny model: what is predicted of 7B to a few percent is within a block here.
    assert.ok(
      Math.abs(result.peakDeviceBytes - result.predictedDeviceBytes) < 2 ** 26,
      JSON.stringify(result),
    );
    assert.match(stderr, /^peak GPU memory +.+ predicted/m);
    assert.match(stderr, /^over PCIe, a step +.+ predicted/m);
  } finally {
    if (environment["MEFT_CUDA_LIBRARY"] === undefined) Deno.env.delete("MEFT_CUDA_LIBRARY");
    await Deno.remove(out, { recursive: true });
  }
});

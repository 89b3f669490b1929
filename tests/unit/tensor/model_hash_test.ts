// SPDX-License-Identifier: Apache-2.0
/** What the hash of a base model covers: read and added up once more by other code. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { modelHash } from "../../../lib/tensor/model_hash.ts";
import { withFolder } from "../../fixtures/folder.ts";

const MIB = 1 << 20;
const CONFIG = `{"model_type":"llama"}`;

/** Bytes of a file with one tensor of so many bytes. */
function weightFile(name: string, dataBytes: number): Uint8Array<ArrayBuffer> {
  const header = JSON.stringify({
    [name]: { dtype: "U8", shape: [dataBytes], data_offsets: [0, dataBytes] },
  });
  const json = new TextEncoder().encode(header);
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  for (let i = 8 + json.length; i < bytes.length; i++) bytes[i] = i * 7919 >> 5;
  return bytes;
}

type Files = Readonly<Record<string, Uint8Array>>;

function hashOf(folder: string, files: Files, config = CONFIG): string {
  for (const { name } of [...Deno.readDirSync(folder)]) Deno.removeSync(join(folder, name));
  Deno.writeTextFileSync(join(folder, "config.json"), config);
  for (const [name, bytes] of Object.entries(files)) Deno.writeFileSync(join(folder, name), bytes);
  return modelHash(folder);
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const other = bytes.slice();
  other[at] = (other[at] as number) ^ 1;
  return other;
}

const headerBytes = (bytes: Uint8Array): number => 8 + new DataView(bytes.buffer).getInt32(0, true);

Deno.test("modelHash() is SHA-256 of config.json and of each file's name, size, header and data, shards by name", () =>
  withFolder((folder) => {
    const [a, b] = [weightFile("a", 100), weightFile("b", 5000)];
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;
    const expected = createHash("sha256").update(CONFIG);
    for (const [name, bytes] of [[names[0], a], [names[1], b]] as const) {
      expected.update(`${name}\n${bytes.length}\n${headerBytes(bytes)}\n`).update(bytes);
    }
    const hash = expected.digest("hex");
    assert.equal(hashOf(folder, { [names[1]]: b, [names[0]]: a }), hash);
    // An index says which files there are, and nothing of their order.
    for (const [first, second] of [names, names.toReversed()]) {
      const index = JSON.stringify({
        weight_map: { [first === names[0] ? "a" : "b"]: first, other: second },
      });
      const files = {
        [names[0]]: a,
        [names[1]]: b,
        "model.safetensors.index.json": new TextEncoder().encode(index),
      };
      assert.equal(hashOf(folder, files), hash);
    }
  }));

Deno.test("modelHash() changes with every byte of configuration, name, header and data of up to 1 MiB", () =>
  withFolder((folder) => {
    const name = "model.safetensors";
    const bytes = weightFile("weight", MIB);
    const whole = hashOf(folder, { [name]: bytes });
    const begin = headerBytes(bytes);
    assert.equal(bytes.length - begin, MIB);
    for (const at of [begin, begin + 4095, begin + 4096, begin + MIB / 2 + 1, bytes.length - 1]) {
      assert.notEqual(hashOf(folder, { [name]: flipped(bytes, at) }), whole, `byte ${at}`);
    }
    const renamed = bytes.slice();
    renamed[bytes.indexOf("w".charCodeAt(0))] = "v".charCodeAt(0);
    assert.notEqual(hashOf(folder, { [name]: renamed }), whole, "a tensor's name");
    assert.notEqual(hashOf(folder, { [name]: bytes }, CONFIG.replace("a", "b")), whole, "config.json");
    assert.notEqual(hashOf(folder, { "model-1-of-1.safetensors": bytes }), whole, "the file's name");
    assert.equal(hashOf(folder, { [name]: bytes }), whole);
  }));

Deno.test("modelHash() of larger data takes 256 pieces of 4 KiB from the first byte to the last, and its size", () =>
  withFolder((folder) => {
    const name = "model.safetensors";
    const dataBytes = MIB + 256 * 1000;
    const bytes = weightFile("weight", dataBytes);
    const begin = headerBytes(bytes);
    const expected = createHash("sha256").update(CONFIG);
    expected.update(`${name}\n${bytes.length}\n${begin}\n`).update(bytes.subarray(0, begin));
    // The last piece ends with the data, and all begin equally far apart.
    for (let i = 0; i < 256; i++) {
      const at = begin + Math.floor(i * (dataBytes - 4096) / 255);
      expected.update(bytes.subarray(at, at + 4096));
    }
    assert.equal(hashOf(folder, { [name]: bytes }), expected.digest("hex"));
  }));

Deno.test("modelHash() refuses a folder without weights", () =>
  withFolder((folder) => {
    assert.throws(() => hashOf(folder, {}), /Model folder .*has no model\.safetensors/s);
  }));

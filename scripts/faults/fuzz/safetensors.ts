// SPDX-License-Identifier: Apache-2.0
/** Safetensors files and folders of them, beside the rules of the format's own library. */
import { join } from "node:path";
import { nextIntegerBelow, type RandomStream } from "../../../lib/core/rng.ts";
import { throwIfAny } from "../../../lib/core/errors.ts";
import { indexCheckpoint } from "../../../lib/tensor/checkpoint_index.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import type { Fuzzer, Verdict } from "./fuzzer.ts";
import { joined, mutatedBytes, mutatedJson, pick } from "./mutate_json.ts";

const BITS: Readonly<Record<string, number>> = {
  ...{
    BOOL: 8,
    U8: 8,
    I8: 8,
    F8_E5M2: 8,
    F8_E4M3: 8,
    F8_E8M0: 8,
    F8_E4M3FNUZ: 8,
    F8_E5M2FNUZ: 8,
    I16: 16,
    U16: 16,
  },
  ...{ F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64 },
  ...{ F4: 4, F6_E2M3: 6, F6_E3M2: 6 },
};

/** A header of a few tensors one after the other, and how many bytes they have together. */
function header(random: RandomStream): { fields: Record<string, unknown>; dataBytes: number } {
  const fields: Record<string, unknown> = {};
  if (nextIntegerBelow(random, 3) === 0) fields["__metadata__"] = { format: "pt" };
  let dataBytes = 0;
  for (let i = nextIntegerBelow(random, 5); i >= 0; i--) {
    const shape = Array.from({ length: nextIntegerBelow(random, 4) }, () => nextIntegerBelow(random, 5));
    const dtype = pick(random, ["F32", "BF16", "F16", "I64", "U8", "F4", "BOOL"]);
    const bytes = Math.ceil(shape.reduce((product, size) => product * size, BITS[dtype] as number) / 8);
    fields[`model.layers.${i}.weight`] = { dtype, shape, data_offsets: [dataBytes, dataBytes + bytes] };
    dataBytes += bytes;
  }
  return { fields, dataBytes };
}

function fileOf(json: Uint8Array, dataBytes: number, length = BigInt(json.length)): Uint8Array {
  const prefix = new Uint8Array(8);
  new DataView(prefix.buffer).setBigUint64(0, length, true);
  return joined(prefix, json, new Uint8Array(dataBytes));
}

/** Of the length before the header. */
const LENGTHS = [0n, 1n, 2n, 7n, 100_000_000n, 100_000_001n, 2n ** 31n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n];

function makeFile(random: RandomStream): Uint8Array {
  const { fields, dataBytes } = header(random);
  const plain = new TextEncoder().encode(JSON.stringify(fields));
  const choice = nextIntegerBelow(random, 8);
  if (choice === 0) return fileOf(plain, dataBytes);
  if (choice === 1) return fileOf(plain, dataBytes + nextIntegerBelow(random, 9) - 4 < 0 ? 0 : dataBytes + 1);
  if (choice === 2) return fileOf(plain, dataBytes, pick(random, LENGTHS));
  if (choice === 3) return mutatedBytes(random, fileOf(plain, dataBytes));
  return fileOf(mutatedJson(random, fields), dataBytes);
}

/** Whether the format's own library would take these tensors: none unlike its span, no gap, no overlap, nothing after them. */
function followsRules(bytes: Uint8Array): boolean {
  const length = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  const parsed = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const { __metadata__: _, ...tensors } = parsed as Record<string, never>;
  const spans = Object.values(tensors).map(({ dtype, shape, data_offsets }) => {
    const bits = (shape as number[]).reduce(
      (product, size) => product * BigInt(size),
      BigInt(BITS[dtype] as number),
    );
    const [begin, end] = (data_offsets as number[]).map(BigInt) as [bigint, bigint];
    return { begin, end, fits: bits === 8n * (end - begin) };
  }).sort((a, b) => Number(a.begin - b.begin || a.end - b.end));
  let at = 0n;
  for (const { begin, end, fits } of spans) {
    if (!fits || begin !== at) return false;
    at = end;
  }
  return at === BigInt(bytes.length - 8 - length);
}

/** One file. */
export const SAFETENSORS: Fuzzer = {
  name: "safetensors",
  make: makeFile,
  use(input, folder): Promise<Verdict> {
    const path = join(folder, "model.safetensors");
    Deno.writeFileSync(path, input);
    readSafetensorsHeader(path);
    if (!followsRules(input)) throw new Error("a file was taken that the format's own library refuses");
    return Promise.resolve("accepted");
  },
};

const INDEX = "model.safetensors.index.json";

/** A folder of shards by an index. */
export const SHARDS: Fuzzer = {
  name: "shards",
  make(random) {
    const shard = (i: number) => `model-0000${i}-of-00002.safetensors`;
    const weight_map = { a: shard(1), b: shard(2) };
    return mutatedJson(random, { metadata: { total_size: 8 }, weight_map });
  },
  use(input, folder) {
    Deno.removeSync(folder, { recursive: true });
    Deno.mkdirSync(folder);
    for (const [i, name] of ["a", "b"].entries()) {
      const json = JSON.stringify({ [name]: { dtype: "F32", shape: [1], data_offsets: [0, 4] } });
      const path = join(folder, `model-0000${i + 1}-of-00002.safetensors`);
      Deno.writeFileSync(path, fileOf(new TextEncoder().encode(json), 4));
    }
    Deno.writeFileSync(join(folder, INDEX), input);
    const problems: string[] = [];
    const { files } = indexCheckpoint(folder, problems);
    throwIfAny("The checkpoint", problems);
    for (const { path } of files) {
      if (!path.startsWith(`${folder}/`)) throw new Error(`${path} lies outside of the folder`);
    }
    return Promise.resolve("accepted");
  },
};

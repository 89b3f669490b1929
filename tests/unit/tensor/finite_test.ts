// SPDX-License-Identifier: Apache-2.0
/** The search for values that are no numbers. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { floatToBf16, floatToF16 } from "../../../lib/core/half.ts";
import { type FiniteSearch, floatEntry, type FloatSource, searchFinite } from "../../../lib/tensor/finite.ts";
import { readSafetensorsHeader } from "../../../lib/tensor/safetensors.ts";
import { writeSafetensors } from "../../../lib/tensor/write_safetensors.ts";
import { withFolder } from "../../fixtures/folder.ts";

type Values = Readonly<
  Record<string, { dtype: "f32" | "f64" | "bf16" | "f16" | "i32"; values: number[]; shape: number[] }>
>;

const STORED = {
  f32: (values: number[]) => Float32Array.from(values),
  f64: (values: number[]) => Float64Array.from(values),
  bf16: (values: number[]) => Uint16Array.from(values, floatToBf16),
  f16: (values: number[]) => Uint16Array.from(values, floatToF16),
  i32: (values: number[]) => Int32Array.from(values),
} as const;

/** Writes tensors and searches the file. */
async function search(tensors: Values): Promise<FiniteSearch> {
  const found: FiniteSearch[] = [];
  await withFolder(async (folder) => {
    const path = `${folder}/model.safetensors`;
    await writeSafetensors(
      path,
      Object.entries(tensors).map(([name, { dtype, shape, values }]) => ({
        name,
        dtype,
        shape,
        data: () => [STORED[dtype](values)],
      })),
    );
    const sources = [...readSafetensorsHeader(path).tensors.values()].map(floatEntry);
    found.push(await searchFinite(sources.filter((source) => source !== null)));
    strictEqual(found[0]?.broken?.file ?? path, path);
  });
  return found[0] as FiniteSearch;
}

for (const dtype of ["f32", "f64", "bf16", "f16"] as const) {
  for (const value of [NaN, Infinity, -Infinity]) {
    Deno.test(`searchFinite() finds ${value} in ${dtype}, by tensor and place`, async () => {
      const { broken, tensors } = await search({
        a: { dtype, shape: [2], values: [1, -2] },
        b: { dtype, shape: [2, 3], values: [0, 1, 2, 3, value, NaN] },
        c: { dtype, shape: [1], values: [NaN] },
      });
      deepStrictEqual([broken?.tensor, broken?.index, broken?.value], ["b", [1, 1], value]);
      strictEqual(tensors, 2);
    });
  }
  Deno.test(`searchFinite() names the value farthest from 0 when all of ${dtype} are finite`, async () => {
    const { broken, largest, tensors } = await search({
      a: { dtype, shape: [3], values: [1, -200, 2] },
      empty: { dtype, shape: [0, 3], values: [] },
      b: { dtype, shape: [2, 2], values: [0, 100, -0, 3] },
      n: { dtype: "i32", shape: [1], values: [500] },
    });
    strictEqual(broken, null);
    deepStrictEqual([largest?.tensor, largest?.index, largest?.value, tensors], ["a", [1], -200, 3]);
  });
}

Deno.test("searchFinite() looks at the first and the last element of a tensor, whichever it is", async () => {
  const one = (values: number[]) => search({ x: { dtype: "f32", shape: [3], values } });
  for (const at of [0, 1, 2]) {
    const { broken } = await one([1, 2, 3].with(at, NaN));
    deepStrictEqual(broken?.index, [at]);
    const { largest } = await one([1, 2, 3].with(at, -9));
    deepStrictEqual([largest?.index, largest?.value], [[at], -9]);
  }
  const { largest } = await one([0, 0, 0]);
  deepStrictEqual([largest?.index, largest?.value], [[0], 0], "zero is a value, the first of equals");
});

Deno.test("searchFinite() counts on over the pieces of a large tensor", async () => {
  const source = (pieces: Float32Array[]): FloatSource => ({
    name: "x",
    file: "f",
    shape: [3, 1000],
    pieces: () => pieces.map((data) => ({ dtype: "f32" as const, data })),
  });
  const pieces = [1, 2, 3].map((fill) => new Float32Array(1000).fill(fill));
  pieces[2]![7] = NaN;
  const { broken, largest } = await searchFinite([source(pieces)]);
  deepStrictEqual(broken?.index, [2, 7]);
  ok(largest !== null && largest.value === 2);
});

for (const dtype of ["f32", "f64", "bf16", "f16"] as const) {
  Deno.test(`floatEntry() reads a tensor of ${dtype} in pieces, to its last element`, () =>
    withFolder(async (folder) => {
      // Two elements more than a piece of 4 MiB, behind another tensor.
      const count = (4 << 20) / STORED[dtype]([]).BYTES_PER_ELEMENT + 2;
      const path = `${folder}/model.safetensors`;
      for (const [at, value] of [[count - 1, NaN], [count - 3, -9]] as const) {
        const data = new (STORED[dtype]([]).constructor as typeof Float64Array)(count);
        data.set(STORED[dtype]([value]), at);
        const first = { name: "first", dtype: "f64" as const, shape: [1], data: Float64Array.of(5) };
        await writeSafetensors(path, [first, { name: "x", dtype, shape: [count], data }]);
        const { tensors } = readSafetensorsHeader(path);
        const { broken, largest } = await searchFinite(
          [...tensors.values()].map((entry) => floatEntry(entry)!),
        );
        deepStrictEqual((broken ?? largest)?.index, [at]);
        strictEqual((broken ?? largest)?.tensor, "x");
        strictEqual(broken === null, value === -9);
      }
    }));
}

// SPDX-License-Identifier: Apache-2.0
/** What a step remembers grows with its depth as each way says: by residuals, by inputs, or by the bits that couplings drop. */
import assert from "node:assert/strict";
import { droppedWords } from "../../../lib/ops/kernels/coupling.ts";
import { referenceKernels } from "../../../lib/ops/reference/reference.ts";
import { type ActivationCell, savings } from "../../../scripts/bench/activations/activations.ts";
import { countActivations } from "../../../scripts/bench/activations/counted.ts";
import { COUNTED_METHODS, type StepMethod } from "../../../scripts/bench/activations/methods.ts";
import { allSeries, configOf, formatShape, type Shape } from "../../../scripts/bench/activations/shapes.ts";

const SHAPE: Shape = { family: "llama", layers: 4, hidden: 128, length: 48, rows: 2 };
const ELEMENTS = SHAPE.rows * SHAPE.length * SHAPE.hidden;

function methodOf(label: string): StepMethod {
  const found = COUNTED_METHODS.find((method) => method.label === label);
  assert.ok(found, label);
  return found;
}

/** What another layer adds to what is kept; floats of the reference are f64. */
async function keptByLayer(label: string, shape = SHAPE, anchorEvery?: number): Promise<number> {
  const kernels = referenceKernels();
  const method = { ...methodOf(label), ...(anchorEvery !== undefined && { anchorEvery }) };
  const of = async (layers: number) => (await countActivations(kernels, { ...shape, layers }, method)).kept;
  return (await of(6) - await of(4)) / 2;
}

Deno.test("a layer keeps its input where it is computed again, and dropped bits where it is undone", async () => {
  assert.equal(await keptByLayer("recompute"), 8 * ELEMENTS);
  assert.equal(await keptByLayer("meft1, no anchors"), 4 * droppedWords(ELEMENTS, 7));
  assert.equal(await keptByLayer("meft3", SHAPE, 1000), 2 * 4 * droppedWords(ELEMENTS, 7));
  assert.equal(await keptByLayer("meft1, every 1"), 4 * droppedWords(ELEMENTS, 7) + 8 * ELEMENTS);
  assert.ok(await keptByLayer("store") > 10 * 8 * ELEMENTS);
  const bert: Shape = { ...SHAPE, family: "bert" };
  assert.equal(await keptByLayer("meft1, no anchors", bert), 4 * droppedWords(ELEMENTS, 3));
});

Deno.test("no way holds less at most than it keeps", async () => {
  const kernels = referenceKernels();
  for (const method of COUNTED_METHODS) {
    const { kept, peak } = await countActivations(kernels, SHAPE, method);
    assert.ok(kept > 0 && peak > kept, `${method.label}: ${kept}, ${peak}`);
  }
});

Deno.test("all shapes of a bench have configurations, each once", () => {
  const shapes = allSeries(false).flatMap(({ shapes }) => shapes);
  assert.equal(new Set(shapes.map(formatShape)).size, shapes.length);
  for (const shape of shapes) {
    assert.equal(Number(configOf(shape)["hidden_size"]) % Number(configOf(shape)["num_attention_heads"]), 0);
  }
});

Deno.test("what is saved is told of ways that undo, beside the peer's full fine-tuning", () => {
  const cell = (way: string, peak: number): ActivationCell => ({
    series: "depth",
    shape: SHAPE,
    way,
    kept: 1,
    peak,
  });
  const cells = [cell("store", 90), cell("meft1", 10), cell("PyTorch", 80)];
  assert.deepEqual(savings(cells), [{ shape: SHAPE, way: "meft1", saved: 0.875 }]);
  assert.deepEqual(savings(cells.slice(0, 2)), []);
});

Deno.test("README's products are those of the results that lie beside the picture", () => {
  const read = (path: string) => Deno.readTextFileSync(new URL(`../../../${path}`, import.meta.url));
  const { cells } = JSON.parse(read("scripts/bench/activations/results.json")) as {
    cells: (ActivationCell & { readonly shape: Shape })[];
  };
  const rows = read("README.md").matchAll(
    /^ {2}\| (BERT-base|BERT-large|(\d+) layers of 1,024) +\|(.*)\|$/gm,
  );
  const shapes = [...rows].map(([, name = "", layers = name === "BERT-base" ? "12" : "24", values = ""]) => {
    const of = (way: string) =>
      cells.find(({ shape, ...cell }) =>
        cell.way === way && cell.products !== undefined && shape.length === 512 &&
        shape.layers === Number(layers) && (shape.family === "bert") === name.startsWith("BERT")
      )?.products ?? NaN;
    const ways = ["recompute", "meft1", ...[1, 2, 3, 4].map((n) => `meft1, every ${n}`), "meft1, no anchors"];
    const told = values.split("|").map((text) => text.trim());
    assert.deepEqual(told, ways.map((way) => (of(way) / of("store")).toFixed(3)), name);
    return name;
  });
  assert.equal(shapes.length, 5);
});

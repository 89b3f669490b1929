// SPDX-License-Identifier: Apache-2.0
/** Every kernel on every backend of this machine, element by element against the f64 oracle. */
import assert from "node:assert/strict";
import type { Kernels } from "../../lib/ops/kernels.ts";
import { referenceKernels } from "../../lib/ops/reference/reference.ts";
import { assertSameBits, assertWithin, EPS_F32 } from "../compare.ts";
import { type Backend, backends, libraryHas } from "./backends.ts";
import { attentionCases } from "./cases/attention.ts";
import { elementwiseCases } from "./cases/elementwise.ts";
import { linearCases } from "./cases/linear.ts";
import { rowCases } from "./cases/rows.ts";
import { sparseCases } from "./cases/sparse.ts";
import type { KernelCase, Outputs } from "./kernel_case.ts";
import { createStage, referenceStage, type Stage } from "./stage.ts";

const CASES = [...linearCases, ...elementwiseCases, ...attentionCases, ...sparseCases, ...rowCases];

/** What the oracle says of a case, and how far a backend may be from it. */
interface Verdict {
  readonly oracle: Outputs;
  readonly bounds: Readonly<Record<string, Float64Array>>;
}

async function judge(test: KernelCase, bf16Inputs: boolean): Promise<Verdict> {
  const oracle = await test.run(referenceStage({ bf16Inputs }));
  const magnitudes = await test.magnitudes?.(referenceStage({ bf16Inputs }), oracle) ?? {};
  const bounds = Object.fromEntries(
    Object.entries(magnitudes).map(([name, values]) => [
      name,
      Float64Array.from(values, (magnitude) => (test.multiple ?? 4) * EPS_F32 * magnitude + Number.MIN_VALUE),
    ]),
  );
  return { oracle, bounds };
}

async function runOn(backend: Backend, threads: number, test: KernelCase): Promise<Outputs> {
  using k = backend.open(threads);
  const stage: Stage = createStage(k, { bf16Inputs: k.compute === "bf16" });
  const outputs = await test.run(stage);
  stage.assertGuards();
  backend.assertRan(k);
  return outputs;
}

function compare(outputs: Outputs, { oracle, bounds }: Verdict): void {
  assert.deepEqual(Object.keys(outputs), Object.keys(oracle));
  for (const [name, values] of Object.entries(outputs)) {
    assertWithin(name, values, oracle[name] as Float64Array, bounds[name] ?? 0);
  }
}

const there = (test: KernelCase): boolean =>
  libraryHas("meft_linear_forward") || !linearCases.includes(test)
    ? libraryHas("meft_attention_forward") || !test.name.startsWith("attention")
      ? libraryHas("meft_sparse_route") || !sparseCases.includes(test)
      : false
    : false;

for (const test of CASES) {
  const ignore = !there(test);
  Deno.test(
    { name: `${test.name} agrees with the oracle on every backend, whatever the threads`, ignore },
    async () => {
      const verdicts = { f32: await judge(test, false), bf16: await judge(test, true) };
      for (const backend of backends()) {
        try {
          const outputs = await runOn(backend, 2, test);
          compare(outputs, verdicts[backend.compute]);
          for (const [name, values] of Object.entries(await runOn(backend, 1, test))) {
            assertSameBits(`${name} on one thread`, values, outputs[name] as Float64Array);
          }
        } catch (error) {
          throw new Error(`${backend.name}: ${error instanceof Error ? error.message : error}`, {
            cause: error,
          });
        }
      }
    },
  );
}

Deno.test("every kernel has a contract case", async () => {
  const called = new Set<string>();
  const watched = new Proxy(referenceKernels(), {
    get(kernels, name) {
      called.add(String(name));
      return Reflect.get(kernels, name);
    },
  });
  for (const test of CASES) await test.run(createStage(watched));
  const allocation: (keyof Kernels)[] = ["floats", "arenaFloats"]; // tested below
  const missing = Object.entries(referenceKernels())
    .filter(([name, member]) =>
      typeof member === "function" && !called.has(name) && !allocation.includes(name as keyof Kernels)
    )
    .map(([name]) => name);
  assert.deepEqual(missing, []);
});

Deno.test("floats() are zeroed and arenaFloats() are of the backend's float type", () => {
  for (const backend of backends()) {
    using k = backend.open(1);
    assertSameBits("floats", k.floats(5), new Float32Array(5));
    assert.equal(k.arenaFloats(7).length, 7);
    assert.equal(k.arenaFloats(0).length, 0);
    assert.equal(k.arenaFloats(1).BYTES_PER_ELEMENT, k.floats(1).BYTES_PER_ELEMENT);
  }
});

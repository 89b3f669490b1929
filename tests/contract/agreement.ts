// SPDX-License-Identifier: Apache-2.0
/** Runs a contract case on every backend of this machine and compares it with the oracle. */
import assert from "node:assert/strict";
import { bf16ToFloat } from "../../lib/core/half.ts";
import type { ActivationArray, Floats } from "../../lib/tensor/tensor.ts";
import { assertSameBits, assertWithin, EPS_F32 } from "../compare.ts";
import { type Backend, backends, deviceBackends, watchedKernels } from "./backends.ts";
import type { KernelCase, Outputs } from "./kernel_case.ts";
import { createStage, referenceStage } from "./stage.ts";
import { now } from "../now.ts";

/** What the oracle says of a case, and how far a backend may be from it. */
interface Verdict {
  readonly oracle: Outputs;
  readonly bounds: Readonly<Record<string, Float64Array>>;
}

async function judge(test: KernelCase, isBf16: boolean, multiple = test.multiple ?? 4): Promise<Verdict> {
  const options = test.roundsInputs ? { rounds: isBf16 } : { bf16Inputs: isBf16 };
  const oracle = await test.run(referenceStage(options));
  const magnitudes = await test.magnitudes?.(referenceStage(options), oracle) ?? {};
  const relative = (name: string) =>
    multiple * EPS_F32 + (isBf16 && test.roundedWithin?.includes(name) ? 2 * 2 ** -8 : 0);
  const bounds = Object.fromEntries(
    Object.entries(magnitudes).map(([name, values]) => [
      name,
      Float64Array.from(values, (magnitude) => relative(name) * magnitude + Number.MIN_VALUE),
    ]),
  );
  return { oracle, bounds };
}

/** Values of what kernels wrote, by name. */
export type Written = Readonly<Record<string, Floats | Int32Array>>;

/** The values of what a kernel wrote, and whether they were rounded to bf16 as they were stored. */
interface Stored {
  readonly values: Floats | Int32Array;
  readonly rounded: boolean;
}

async function runOn(
  backend: Backend,
  threads: number,
  test: KernelCase,
  oracle: Outputs,
): Promise<Readonly<Record<string, Stored>>> {
  using k = backend.open(threads);
  const called = new Set<string>();
  const bf16Inputs = k.compute === "bf16" && !test.roundsInputs;
  const stage = createStage(watchedKernels(k, called), { bf16Inputs });
  const written = await test.run(stage);
  const outputs = Object.fromEntries(
    Object.entries(written).map(([name, x]) => {
      return [name, valuesOf(now(k.read(x)))];
    }),
  );
  stage.assertGuards();
  // For no tokens, or no spans of them, a device is given nothing to do.
  const isZero = Object.values(oracle).every((x) => x.every((value) => value === 0));
  if (!stage.isEmpty && !isZero) backend.assertRan(k, called);
  return outputs;
}

function valuesOf(x: ActivationArray | Int32Array): Stored {
  if (x instanceof Uint16Array) return { values: Float32Array.from(x, bf16ToFloat), rounded: true };
  return { values: x, rounded: false };
}

function compare(outputs: Readonly<Record<string, Stored>>, { oracle, bounds }: Verdict): void {
  assert.deepEqual(Object.keys(outputs), Object.keys(oracle));
  for (const [name, { values, rounded }] of Object.entries(outputs)) {
    const expected = oracle[name] as Float64Array;
    const bound = bounds[name] ?? new Float64Array(expected.length);
    // What is rounded is the computed value, itself within its bound.
    const stored = (x: number, i: number): number =>
      x + (rounded ? 2 ** -8 * (x + Math.abs(expected[i] as number)) : 0);
    assertWithin(name, values, expected, bound.map(stored));
  }
}

/** Fails unless every backend is within its bound of the oracle, with the same bits on one thread as on two. */
export async function assertAgreesEverywhere(
  test: KernelCase,
  on: readonly Backend[] = backends(),
): Promise<void> {
  const verdicts = { f32: await judge(test, false), bf16: await judge(test, true) };
  const onDevice = test.deviceBf16Multiple === undefined
    ? verdicts.bf16
    : await judge(test, true, test.deviceBf16Multiple);
  for (const backend of on) {
    try {
      const rounds = backend.compute === "bf16" && backend.name.startsWith("cuda");
      const verdict = rounds ? onDevice : verdicts[backend.compute];
      const outputs = await runOn(backend, 2, test, verdict.oracle);
      compare(outputs, verdict);
      for (const [name, { values }] of Object.entries(await runOn(backend, 1, test, verdict.oracle))) {
        assertSameBits(`${name} on one thread`, values, outputs[name]?.values as Float64Array);
      }
    } catch (error) {
      throw new Error(`${backend.name}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
}

/**
 * Runs calls of kernels on every backend, as {@linkcode assertAgreesEverywhere} does, and lets `check` see what they wrote
 * instead of comparing it with an oracle: for what a backend must give whatever is computed beside it.
 */
export async function onEveryBackend(
  run: KernelCase["run"],
  check: (written: Written) => void = () => {},
  on: readonly Backend[] = [...backends(), ...deviceBackends()],
): Promise<void> {
  // What nothing is known of is not nothing.
  const [test, unknown] = [{ name: "", run }, { unknown: Int32Array.of(1) }];
  for (const backend of on) {
    try {
      const written = Object.entries(await runOn(backend, 2, test, unknown));
      const again = await runOn(backend, 1, test, unknown);
      for (const [name, { values }] of written) {
        assertSameBits(`${name} on one thread`, again[name]?.values ?? [], values);
      }
      check(Object.fromEntries(written.map(([name, { values }]) => [name, values])));
    } catch (error) {
      throw new Error(`${backend.name}: ${error instanceof Error ? error.message : error}`, { cause: error });
    }
  }
}

// SPDX-License-Identifier: Apache-2.0
/** A case of the kernel contract: what to compute, and how large the terms of its sums are. */
import type { Awaitable } from "../../lib/core/awaitable.ts";
import type { ActivationArray } from "../../lib/tensor/tensor.ts";
import { referenceStage, type Stage } from "./stage.ts";

/**
 * Results by name. Whole numbers, and floats without magnitudes, are compared exactly; but what a backend stores in bf16
 * may be one rounding of 2^-8 further from the oracle.
 */
export type Outputs = Readonly<Record<string, ActivationArray | Int32Array>>;

/** One case, run on every backend. */
export interface KernelCase {
  /** A sentence with the kernel's name: `linearForward() adds the bias`. */
  readonly name: string;
  /** Calls kernels of `stage.k` and returns what they wrote. */
  run(stage: Stage): Awaitable<Outputs>;
  /**
   * For each float output, the sum of magnitudes of the terms of each element (rule 13 of the style guide). Computed by
   * the oracle from a stage with the same inputs.
   */
  magnitudes?(stage: Stage, oracle: Outputs): Awaitable<Outputs>;
  /**
   * Multiple of the f32 spacing (2^-23) times the magnitudes that is allowed; 4 when absent. Inputs are exact, so a sum
   * of n terms in blocked order is off by a few roundings of its largest partial sums, far below the worst case n/2.
   */
  readonly multiple?: number;
  /** The same for a device with products in bf16, where it rounds more than their inputs. */
  readonly deviceBf16Multiple?: number;
  /**
   * Where products are bf16 the kernel itself rounds what it multiplies, and the case says what that is by `rounded()` of
   * its stage: backends get numbers as they were drawn. In other cases all are given rounded ones.
   */
  readonly roundsInputs?: true;
  /**
   * Outputs that are sums of products with computed values (probabilities): where products are bf16 these values are
   * rounded to it too, which allows two roundings of 2^-8 of the magnitudes more.
   */
  readonly roundedWithin?: readonly string[];
}

/** Magnitudes of a case whose outputs are sums of products: the case itself on absolute inputs. */
export function onAbsoluteInputs(
  run: KernelCase["run"],
): NonNullable<KernelCase["magnitudes"]> {
  let once: ReturnType<KernelCase["run"]> | undefined;
  return () => once ??= run(referenceStage({ absolute: true }));
}

/** A case whose outputs are sums of products. */
export function sums(name: string, run: KernelCase["run"]): KernelCase {
  return { name, run, magnitudes: onAbsoluteInputs(run) };
}

/** |x|, element by element. */
export function absolute(values: ArrayLike<number>): Float64Array {
  return Float64Array.from(values, Math.abs);
}

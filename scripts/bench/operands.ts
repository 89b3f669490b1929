// SPDX-License-Identifier: Apache-2.0
/** A kernel that is measured, and what its operands are made of. */
import type { Kernels } from "../../lib/ops/kernels/kernels.ts";
import type { ActivationArray, Weight } from "../../lib/tensor/tensor.ts";

/** What bounds a kernel: which of the machine's limits its rate is compared with. */
export type Bound = "f32Gflops" | "bf16Gflops" | "readGigabytes" | "updateGigabytes";

/** A kernel on its operands. */
export interface KernelCase {
  readonly name: string;
  readonly shape: string;
  readonly bound: Bound;
  /** Giga-operations or gigabytes of one call, by the bound. */
  readonly work: number;
  /** One call; the operands are its own. */
  readonly run: () => void;
}

/** Makes a case with kernels; operands live as long as the case. */
export type MakeCase = (k: Kernels) => KernelCase;

/** Type of matrix products on native kernels. */
export function products(k: Kernels): "f32" | "bf16" {
  return k.compute === "bf16" ? "bf16" : "f32";
}

/** N(0, std^2). */
export function random(k: Kernels, count: number, std = 1): Float32Array {
  const values = new Float32Array(count);
  k.randomNormal(values, 1, count % 9973, std);
  return values;
}

/** The high halves of floats: bf16. */
export function halves(values: Float32Array): Uint16Array {
  return new Uint16Array(values.buffer).filter((_, i) => i % 2 === 1);
}

/** A weight of small values. */
export function weight(k: Kernels, dtype: "f32" | "bf16", rows: number, cols: number): Weight {
  const floats = random(k, rows * cols, 0.02);
  const data = dtype === "f32" ? floats : halves(floats);
  return { name: "w", dtype, rows, cols, data, mapped: null, grad: null };
}

/** Random values as the backend stores activations. */
export function activations(k: Kernels, count: number): ActivationArray {
  const values = random(k, count);
  return k.activationDType === "bf16" ? halves(values) : values;
}

/** Room as the backend stores activations. */
export function room(k: Kernels, count: number): ActivationArray {
  return k.modelActivations(count, "activations");
}

/** Bytes of an activation's element. */
export function activationBytes(k: Kernels): number {
  return k.activationDType === "bf16" ? 2 : 4;
}

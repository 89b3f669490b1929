// SPDX-License-Identifier: Apache-2.0
/**
 * The kernel table: every numeric primitive that a backend supplies, and the memory it works in. Raw arrays and sizes; shapes
 * are checked once, by the op pairs beside this folder, which are what everybody else calls.
 */
import type { ModelKernels } from "./model.ts";
import type { PassMemory, Place } from "./place.ts";
import type { RowKernels } from "./rows.ts";

/** A backend: what the model's lane computes, what rows' lane computes, and where their memory lies. */
export interface Kernels extends ModelKernels, RowKernels, Place {
  readonly backend: "cpu" | "cuda" | "reference";
  /** The same kernels with a second arena and link, for the other part of a micro-batch. Always the same object. */
  twin(): Kernels;
}

/** What a backend is composed of. */
export interface KernelParts {
  readonly backend: Kernels["backend"];
  readonly model: ModelKernels;
  readonly rows: RowKernels;
  readonly place: Omit<Place, keyof PassMemory>;
  /** Makes the memory of a pass: asked once for the table, and once more for its twin. */
  memory(): PassMemory;
}

/** One table of a backend's parts, with a twin that differs in the memory of a pass alone. */
export function composeKernels({ backend, model, rows, place, memory }: KernelParts): Kernels {
  const shared = { backend, ...model, ...rows, ...place };
  let second: Kernels | null = null;
  const twin = (): Kernels => second ??= { ...shared, ...memory(), twin };
  return { ...shared, ...memory(), twin };
}

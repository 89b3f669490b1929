// SPDX-License-Identifier: Apache-2.0
/** The CUDA library that tests run: the real one where it has a device, else the same kernels emulated by the CPU. */
import { fileURLToPath } from "node:url";
import { type CudaState, cudaState } from "../lib/native/cuda.ts";
import { libraryPath, readEnv } from "../lib/native/library.ts";

/** What tests run on. */
export interface TestDevice {
  /** "cuda" or "cuda-emulated", as reported. */
  readonly backend: string;
  readonly state: CudaState;
}

const BESIDE_CPU = new URL("libmeft_cuda_emulated.so", `file://${libraryPath("cpu")}`);

/**
 * Names the library for this process, unless `MEFT_CUDA_LIBRARY` does. A real device comes first.
 *
 * @throws {Error} When neither works
 */
export function openTestDevice(): TestDevice {
  if (readEnv("MEFT_CUDA_LIBRARY") === undefined && !hasRealDevice()) {
    Deno.env.set("MEFT_CUDA_LIBRARY", fileURLToPath(BESIDE_CPU));
  }
  const state = cudaState();
  if (state.problem !== null || state.build === null) {
    throw new Error(`No CUDA kernels to test: ${state.problem}`);
  }
  return { backend: state.build.backend, state };
}

/** Whether the driver lists a card. */
function hasRealDevice(): boolean {
  try {
    return Deno.readDirSync("/proc/driver/nvidia/gpus")[Symbol.iterator]().next().done === false;
  } catch {
    return false;
  }
}

// SPDX-License-Identifier: Apache-2.0
/** Whether a CUDA device can be used here, and if not, which of library, driver and device is missing. */
import { UserError } from "../core/errors.ts";
import { isThereSync } from "../files/read.ts";
import { type BuildInfo, buildInfo, type DevicePresence, libraryPath, openLibrary } from "./library.ts";

/** The CUDA library and its device, as found. */
export interface CudaState {
  /** Null when the library is missing or does not open. */
  readonly build: BuildInfo | null;
  /** Null without a library. */
  readonly device: DevicePresence | null;
  /** Why the model cannot run on a device, and what to do, as a sentence; null when it can. */
  readonly problem: string | null;
}

/** Looks for the library, then asks it for the device. Never throws for what is missing. */
export function cudaState(): CudaState {
  const path = libraryPath("cuda");
  if (!isThereSync(path)) {
    const problem = `there is no ${path}: install the CUDA toolkit (nvcc), then run deno task build`;
    return { build: null, device: null, problem };
  }
  try {
    const build = buildInfo(openLibrary("cuda"));
    const device = build.device ?? null;
    return {
      build,
      device,
      problem: device === null ? `${path} is no CUDA library` : presenceProblem(device),
    };
  } catch (error) {
    return { build: null, device: null, problem: error instanceof Error ? error.message : String(error) };
  }
}

/** @throws {UserError} When no device can be used, saying what is missing */
export function requireCuda(): void {
  const { problem } = cudaState();
  if (problem !== null) throw new UserError(`device is cuda, but ${problem}; or use device cpu`);
}

/** Whether "auto" means the device: a real one that can be used. */
export function hasCudaDevice(): boolean {
  const { build, problem } = cudaState();
  return problem === null && build?.backend === "cuda";
}

function presenceProblem({ presence, text, driver, runtime }: DevicePresence): string | null {
  switch (presence) {
    case "present":
      return null;
    case "driver-missing":
      return "no NVIDIA driver is installed: install the driver of the card";
    case "driver-too-old":
      return `the NVIDIA driver speaks CUDA ${driver} and the library needs ${runtime}: install a newer driver`;
    case "no-device":
      return "the driver sees no CUDA device (is CUDA_VISIBLE_DEVICES set?)";
    case "broken":
      return `the CUDA device does not answer: ${text}`;
  }
}

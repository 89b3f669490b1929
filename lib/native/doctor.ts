// SPDX-License-Identifier: Apache-2.0
/** What `deno task doctor` says about the native side: facts, what is missing, and how to get it. */
import { type ContextInfo, NativeContext } from "./context.ts";
import { type CudaState, cudaState } from "./cuda.ts";
import { type BuildInfo, buildInfo, libraryPath, openLibrary } from "./library.ts";
import { installText, missingTools, missingToolsText, outputOf } from "./tools.ts";

/** Something that is not there. */
export interface Missing {
  readonly name: string;
  /** What does not work without it. */
  readonly effect: string;
  /** How to get it. */
  readonly remedy: string;
  /** Whether everything works without it, if slower. */
  readonly optional: boolean;
}

/** The installation, as found. */
export interface NativeFacts {
  readonly libraryPath: string;
  /** `major.minor`, and what the library says of itself; null when it does not open. */
  readonly abi: string | null;
  readonly build: BuildInfo | null;
  /** A context made with the defaults: target, provider and threads in use, workspace held. */
  readonly context: ContextInfo | null;
  /** Cores of the machine, whether or not this process may use them. */
  readonly cores: number;
  /** Release of the CUDA compiler; null when there is none. */
  readonly nvcc: string | null;
  /** The CUDA library and the device it sees. */
  readonly cuda: CudaState;
  /** Whether oneDNN can be asked for: its provider was built, and its library is there. */
  readonly oneDnn: boolean;
  readonly missing: readonly Missing[];
}

/** Looks at the installation. Never throws for what is missing: it says so. */
export async function nativeFacts(): Promise<NativeFacts> {
  const missing: Missing[] = [];
  const tools = await missingTools();
  if (tools.length > 0) {
    missing.push({
      name: "build tools",
      effect: "the native library cannot be built here",
      remedy: missingToolsText(tools),
      optional: false,
    });
  }
  const library = lookAtLibrary(missing);
  const oneDnn = library.build?.gemm.includes("onednn") ?? false;
  if (library.build !== null && !oneDnn) {
    missing.push({
      name: "oneDNN",
      effect: "MEFT_GEMM=onednn is not available; the library's own matrix products are used",
      remedy: `${installText(["libdnnl-dev"])}, then deno task build`,
      optional: true,
    });
  }
  const cuda = cudaState();
  if (cuda.problem !== null) {
    missing.push({
      name: "CUDA",
      effect: "models run on the CPU",
      remedy: cuda.problem,
      optional: true,
    });
  }
  return {
    libraryPath: libraryPath(),
    ...library,
    cores: navigator.hardwareConcurrency,
    nvcc: /release ([\d.]+)/.exec(await outputOf("nvcc", ["--version"]) ?? "")?.[1] ?? null,
    cuda,
    oneDnn,
    missing,
  };
}

/** Opens the library and a context; what fails is added to `missing`. */
function lookAtLibrary(missing: Missing[]): Pick<NativeFacts, "abi" | "build" | "context"> {
  try {
    const library = openLibrary();
    const facts = { abi: `${library.abi.major}.${library.abi.minor}`, build: buildInfo(library) };
    return { ...facts, context: lookAtContext(missing) };
  } catch (error) {
    missing.push({
      name: "libmeft",
      effect: error instanceof Error ? error.message : String(error),
      remedy: "deno task build",
      optional: false,
    });
    return { abi: null, build: null, context: null };
  }
}

function lookAtContext(missing: Missing[]): ContextInfo | null {
  try {
    using context = new NativeContext();
    return context.info();
  } catch (error) {
    missing.push({
      name: "a working context",
      effect: error instanceof Error ? error.message : String(error),
      remedy: "unset MEFT_FORCE_TARGET, MEFT_GEMM and MEFT_THREADS, or give them values this machine has",
      optional: false,
    });
    return null;
  }
}

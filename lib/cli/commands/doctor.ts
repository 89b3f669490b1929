// SPDX-License-Identifier: Apache-2.0
/** `deno task doctor`: the installation as found, what is missing, and how to get it. */
import { text, toggle } from "../../core/options.ts";
import { throwIfAny } from "../../core/errors.ts";
import { nativeFacts } from "../../native/doctor.ts";
import type { BuildInfo, DevicePresence } from "../../native/library.ts";
import { formatBytes } from "../../report/format.ts";
import { formatTable } from "../../report/table.ts";
import { flagsOf, type FlagValues } from "../flags/flags.ts";
import { formatMethods, methodAccounts } from "../methods_table.ts";
import type { Output } from "../output.ts";
import type { CommandSpec } from "../program.ts";
import { EXIT } from "../failure.ts";
import { openModelOf } from "../session.ts";

async function run(values: FlagValues, output: Output): Promise<number> {
  if (values.methods === true) return await reportMethods(values, output);
  throwIfAny("The command line of doctor", values.model === undefined ? [] : ["--model needs --methods"]);
  const facts = await nativeFacts();
  const { build, context } = facts;
  output.line(formatTable([
    ["what", "found"],
    ["library", facts.libraryPath],
    ["ABI", facts.abi ?? "the library does not open"],
    ["compiler", build?.compiler ?? "?"],
    ["revision", build?.revision ?? "?"],
    ["targets of this machine", build?.machineTargets.join(", ") ?? "?"],
    ["target in use", context?.target ?? "?"],
    ["kernels that it lacks", absentText(build)],
    ["matrix products", context === null ? "?" : `${context.gemm} (there are: ${build?.gemm.join(", ")})`],
    ["threads in use", context === null ? "?" : `${context.threads} of ${facts.cores} cores`],
    ["workspace held", context === null ? "?" : formatBytes(context.workspaceBytes)],
    ["CUDA compiler", facts.nvcc ?? "none"],
    ["CUDA library", facts.cuda.build?.backend ?? "none"],
    ["kernels that it lacks", absentText(facts.cuda.build)],
    ["CUDA device", deviceText(facts.cuda.device)],
    ["cuBLASLt", facts.cuda.device?.cublasLt ?? "?"],
    ["attention on the device", facts.cuda.device?.attention ?? "?"],
    ["Deno", `${Deno.version.deno} (V8 ${Deno.version.v8})`],
  ]));
  for (const { name, effect, remedy, optional } of facts.missing) {
    output.line(`\n${optional ? "optional" : "MISSING"}: ${name}: ${effect}\n  ${remedy}`);
  }
  const usable = facts.missing.every(({ optional }) => optional);
  output.line(
    usable ? "\nAll that training needs is here." : "\nTraining cannot run until what is missing is there.",
  );
  output.result({ ...facts, usable });
  return usable ? EXIT.done : EXIT.failed;
}

function absentText(build: BuildInfo | null): string {
  if (build === null) return "?";
  return build.absentKernels.join(", ") || "none";
}

function deviceText(device: DevicePresence | null): string {
  if (device === null) return "none";
  if (device.presence !== "present") {
    return `none (${device.presence}: driver ${device.driver}, needs ${device.runtime})`;
  }
  const { name, architecture, memoryBytes, driver, runtime } = device;
  return `${name} (${architecture}), ${
    formatBytes(memoryBytes)
  }, driver for CUDA ${driver}, built with ${runtime}`;
}

/** Every method on the model, with its defaults. */
async function reportMethods(values: FlagValues, output: Output): Promise<number> {
  using model = await openModelOf(values);
  const accounts = await methodAccounts(model);
  output.line(`${model.dir} (${model.config.modelType}), host memory by class with the defaults of train\n`);
  output.line(formatMethods(accounts));
  output.result({ model: model.dir, ...accounts });
  return EXIT.done;
}

const OPTIONS = {
  methods: toggle({ help: "list the methods with their trained parameters and memory instead" }),
  model: text({
    path: true,
    help: "checkpoint folder that --methods is about",
    defaultText: "the demo's model",
  }),
} as const;

/** The command. */
export const DOCTOR: CommandSpec = {
  name: "doctor",
  summary: "Reports the installation: library, instruction sets, GPU, what is missing and how to get it.",
  examples: [
    "deno task doctor",
    "deno task doctor --json",
    "deno task doctor --methods --model checkpoints/llama",
  ],
  flags: flagsOf(OPTIONS),
  run,
};

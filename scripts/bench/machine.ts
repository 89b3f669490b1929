// SPDX-License-Identifier: Apache-2.0
/** Where and with what something was measured. */
import { buildInfo, openLibrary } from "../../lib/native/library.ts";

/** Facts for a report. */
export interface Machine {
  readonly date: string;
  readonly command: string;
  readonly cpu: string;
  readonly cores: number;
  readonly threads: number;
  readonly seed: number;
  readonly memoryBytes: number;
  /** Mean of runnable processes over the last minute, before the measurement: others may use the machine. */
  readonly load: number;
  readonly deno: string;
  readonly compiler: string;
  readonly revision: string;
  readonly commit: string;
}

/** Looks at the machine. @param task What measures */
export async function lookAtMachine(threads: number, seed: number, task = "bench"): Promise<Machine> {
  const { compiler, revision } = buildInfo(openLibrary());
  return {
    date: new Date().toISOString(),
    command: [`deno task ${task}`, ...Deno.args].join(" "),
    cpu: await cpuName(),
    cores: navigator.hardwareConcurrency,
    threads,
    seed,
    memoryBytes: Deno.systemMemoryInfo().total,
    load: loadNow(),
    deno: Deno.version.deno,
    compiler,
    revision,
    commit: await commitName(),
  };
}

/** Mean of runnable processes over the last minute. */
export function loadNow(): number {
  return Deno.loadavg()[0] ?? 0;
}

/** One line of it. */
export function formatMachine(machine: Machine): string {
  const { cpu, cores, threads, load, deno, compiler, commit, date, seed } = machine;
  return [
    `$ ${machine.command}`,
    `${cpu}, ${cores} cores, ${threads} threads, load ${load.toFixed(1)} before, seed ${seed}`,
    `deno ${deno}, ${compiler}, commit ${commit}, ${date}`,
  ].join("\n");
}

async function cpuName(): Promise<string> {
  const text = await Deno.readTextFile("/proc/cpuinfo").catch(() => "");
  const field = (name: string) => new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1] ?? "?";
  return `${field("model name")} (family ${field("cpu family")}, model ${field("model")})`;
}

async function commitName(): Promise<string> {
  try {
    const { stdout } = await new Deno.Command("git", {
      args: ["describe", "--always", "--dirty"],
      stderr: "null",
    })
      .output();
    return new TextDecoder().decode(stdout).trim();
  } catch {
    return "?";
  }
}

/** Targets that this machine runs, and providers of matrix products. */
export function machineTargets(): { readonly targets: readonly string[]; readonly gemm: readonly string[] } {
  const { machineTargets: targets, gemm } = buildInfo(openLibrary());
  return { targets, gemm };
}

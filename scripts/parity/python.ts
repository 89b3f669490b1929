// SPDX-License-Identifier: Apache-2.0
/** Runs the Python scripts of scripts/peers. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { UserError } from "../../mod.ts";

const PEERS = join(dirname(dirname(fileURLToPath(import.meta.url))), "peers");
const PACKAGES = ["torch", "transformers", "safetensors", "peft"];

/** Threads that wait by spinning make PyTorch ten times slower on a busy machine, and no faster on a quiet one. */
const QUIET_WAIT = { OMP_WAIT_POLICY: "PASSIVE" };

/** The interpreter: MEFT_PYTHON, or python3. */
function interpreter(): string {
  return Deno.env.get("MEFT_PYTHON") ?? "python3";
}

/**
 * Checks that the packages are there.
 *
 * @throws {UserError} Naming the interpreter and the packages to install
 */
export async function requirePackages(): Promise<void> {
  const probe = `import importlib.util as u; print(" ".join(p for p in ${
    JSON.stringify(PACKAGES)
  } if not u.find_spec(p)))`;
  const missing = (await runPython(["-c", probe])).trim();
  if (missing === "") return;
  throw new UserError(
    `${interpreter()} lacks ${missing}: ${interpreter()} -m pip install ${missing} (CPU builds do), ` +
      `or set MEFT_PYTHON to an interpreter that has ${PACKAGES.join(", ")}`,
  );
}

/** Runs a script of scripts/peers. Returns its standard output; what it says on stderr is shown when it fails. */
export function runPeer(script: string, args: readonly string[]): Promise<string> {
  return runPython([join(PEERS, script), ...args]);
}

/** How a script of scripts/peers is started, for who talks to it while it runs. */
export function peerCommand(
  script: string,
  args: readonly string[],
): { program: string; args: string[]; env: Record<string, string> } {
  return { program: interpreter(), args: [join(PEERS, script), ...args], env: QUIET_WAIT };
}

async function runPython(args: readonly string[]): Promise<string> {
  const command = interpreter();
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(command, {
      args: [...args],
      stdout: "piped",
      stderr: "piped",
      env: QUIET_WAIT,
    }).output();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UserError(`There is no ${command}: install Python 3, or set MEFT_PYTHON to an interpreter`);
  }
  const decoder = new TextDecoder();
  if (output.success) return decoder.decode(output.stdout);
  throw new Error(`${command} ${args[0]} failed:\n${decoder.decode(output.stderr)}`);
}

// SPDX-License-Identifier: Apache-2.0
/** Training in a process of its own that is killed, or whose disk is full: nothing is lost, and the end is the same. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assertSame } from "../compare.ts";
import { nextUniform, randomStream } from "../../lib/core/rng.ts";
import { newestCheckpoint } from "../../lib/train/checkpoint.ts";
import { listCheckpoints } from "../../lib/train/checkpoint_folder.ts";
import { withFolder } from "../fixtures/folder.ts";

const CHILD = fileURLToPath(new URL("../fixtures/small_training.ts", import.meta.url));
/** Enough that eight short lives do not end the run, on a fast and idle machine too. */
const STEPS = "200";
/** A save takes most of a step's time here, so that about half of the kills fall into one. */
const KILLS = 8;
const LONGEST_LIFE_MS = 250;

function spawn(args: readonly string[]): Deno.ChildProcess {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", CHILD, ...args],
    stdout: "piped",
    stderr: "inherit",
  });
  return command.spawn();
}

/** Output of a child that ends by itself. */
async function finish(child: Deno.ChildProcess): Promise<{ code: number; text: string }> {
  const { code, stdout } = await child.output();
  return { code, text: new TextDecoder().decode(stdout) };
}

/** Lets a child live for a while after it is ready, then kills it. False when it was done before. */
async function killAfter(child: Deno.ChildProcess, delayMs: number): Promise<boolean> {
  const reader = child.stdout.getReader();
  await reader.read(); // "ready": what comes after is training
  reader.releaseLock();
  const timer = setTimeout(() => child.kill("SIGKILL"), delayMs);
  await child.stdout.cancel();
  const { signal } = await child.status;
  clearTimeout(timer);
  return signal === "SIGKILL";
}

Deno.test("a training killed at random moments, saves included, and resumed ends in the same bytes", async () => {
  await withFolder(async (folder) => {
    const [whole, killed] = [join(folder, "whole"), join(folder, "killed")];
    assert.equal((await finish(spawn([whole, STEPS]))).code, 0);

    const random = randomStream(2024, 0);
    let kills = 0;
    for (let i = 0; i < KILLS; i++) {
      const started = await Deno.stat(join(killed, "run.json")).then(() => true, () => false);
      const child = spawn([killed, STEPS, ...(started ? ["--resume"] : [])]);
      if (await killAfter(child, nextUniform(random) * LONGEST_LIFE_MS)) kills++;
    }
    assert.ok(kills >= KILLS / 2, `${kills} of ${KILLS} children were killed in time`);
    const { code, text } = await finish(spawn([killed, STEPS, "--resume"]));
    assert.equal(code, 0, text);
    for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
      const bytes = (run: string) => Deno.readFileSync(join(run, "adapter", name));
      assertSame(bytes(killed), bytes(whole), name);
    }
    const steps = Deno.readTextFileSync(join(killed, "metrics.jsonl")).trimEnd().split("\n")
      .map((line) => (JSON.parse(line) as { step: number }).step);
    assert.deepEqual(steps, Array.from({ length: Number(STEPS) }, (_, i) => i + 1));
  });
});

Deno.test("a training whose disk is full says so, keeps its checkpoints, and can be resumed to the same bytes", async () => {
  await withFolder(async (folder) => {
    const [whole, full] = [join(folder, "whole"), join(folder, "full")];
    assert.equal((await finish(spawn([whole, "6"]))).code, 0);
    const part = await finish(spawn([full, "6"]));
    assert.equal(part.code, 0);
    // Back to the state after step 4, as if the run had been stopped there.
    await Deno.remove(join(full, "checkpoints", "step-000006"), { recursive: true });
    await Deno.remove(join(full, "adapter"), { recursive: true });

    // A limit on the size of a file stands for a full disk: bash counts it in KiB, the signal it raises is ignored.
    const script = `trap '' XFSZ; ulimit -f 32; exec "$0" run -A --no-check "$@"`;
    const limited = new Deno.Command("bash", {
      args: ["-c", script, Deno.execPath(), CHILD, full, "6", "--resume"],
      stdout: "piped",
      stderr: "inherit",
    });
    const { code, text } = await finish(limited.spawn());
    assert.equal(code, 3, text);
    assert.match(
      text,
      /^MachineError: Cannot write \S*step-000006: it needs \d{7} bytes and there is no room \(File too large/m,
    );
    const left = await listCheckpoints(join(full, "checkpoints"));
    assert.deepEqual(left.map(({ step }) => step), [2, 4]);
    assert.equal(await newestCheckpoint(join(full, "checkpoints")), left.at(-1)?.path);
    const names = [...Deno.readDirSync(join(full, "checkpoints"))].map(({ name }) => name).sort();
    assert.deepEqual(names, ["step-000002", "step-000004"]);

    const resumed = await finish(spawn([full, "6", "--resume"]));
    assert.equal(resumed.code, 0, resumed.text);
    const bytes = (run: string) => Deno.readFileSync(join(run, "adapter", "adapter_model.safetensors"));
    assertSame(bytes(full), bytes(whole));
  });
});

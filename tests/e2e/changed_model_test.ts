// SPDX-License-Identifier: Apache-2.0
/** A model whose file is cut or written to under a training: one sentence, and nothing of what was saved is lost. */
import { match, ok, strictEqual } from "node:assert/strict";
import { assertSame } from "../compare.ts";
import { withFolder } from "../fixtures/folder.ts";
import { adapterBytes, afterFirstSave, DEMO_MODEL, LONG_RUN, runCommandLine, savedFiles } from "./command.ts";

const CHANGES: readonly (readonly [how: string, change: (path: string) => void, said: RegExp])[] = [
  ["cut", (path) => Deno.truncateSync(path, 1000), /was cut from \d+ to 1000 bytes while in use/],
  [
    "copied over",
    (path) => Deno.copyFileSync(`${DEMO_MODEL}/config.json`, path),
    /was cut from \d+ to \d+ bytes while/,
  ],
  ["written to", (path) => {
    using file = Deno.openSync(path, { write: true });
    file.seekSync(-4, Deno.SeekMode.End);
    file.writeSync(Uint8Array.of(1, 2, 3, 4));
  }, /was written to while in use/],
];

Deno.test("a training whose model file changes says so, saves nothing of that step, and goes on once it is back", () =>
  withFolder(async (folder) => {
    const model = `${folder}/model`;
    const weights = `${model}/model.safetensors`;
    Deno.mkdirSync(model);
    for (const { name } of Deno.readDirSync(DEMO_MODEL)) {
      Deno.copyFileSync(`${DEMO_MODEL}/${name}`, `${model}/${name}`);
    }
    const train = (out: string) => [...LONG_RUN, "--model", model, "--out", `${folder}/${out}`];
    const whole = await runCommandLine(...train("whole"));
    strictEqual(whole.code, 0, whole.stderr);

    for (const [how, change, said] of CHANGES) {
      const failed = await afterFirstSave(train(how), () => change(weights));
      strictEqual(failed.code, 1, `${how}: ${failed.stderr}`);
      match(failed.stderr, said);
      ok(failed.stderr.includes(weights), failed.stderr);
      match(failed.stderr, /--resume/);
      strictEqual(failed.stderr.trimEnd().split("\n").length, 1, failed.stderr);
      const saved = Object.keys(savedFiles(`${folder}/${how}`));
      ok(saved.length > 0 && saved.every((name) => /^step-0000\d0\//.test(name)), saved.join());

      Deno.copyFileSync(`${DEMO_MODEL}/model.safetensors`, weights);
      const resumed = await runCommandLine(...train(how), "--resume");
      strictEqual(resumed.code, 0, resumed.stderr);
      assertSame(adapterBytes(`${folder}/${how}`), adapterBytes(`${folder}/whole`), how);
    }
  }));

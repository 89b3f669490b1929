// SPDX-License-Identifier: Apache-2.0
/** The preloaded library that campaigns of faults inject with: it sees every call, and strikes the one it is told to. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { withScratch } from "../../scripts/folders.ts";
import { type Fault, type FileCall, readCalls, watching } from "../../scripts/faults/struck.ts";

const FILES = new URL("../../lib/files/", import.meta.url).href;

/** What code said and did in a process of its own, whose calls on files of the folder are watched. */
async function watched(folder: string, code: string, fault?: Fault) {
  const log = await Deno.makeTempFile();
  const { signal, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--no-lock", `const folder = ${JSON.stringify(folder)};\n${code}`],
    stderr: "null",
    env: { NO_COLOR: "1", ...await watching(folder, { process: "eval", ...(fault && { fault }) }, log) },
  }).output();
  return { signal, text: new TextDecoder().decode(stdout).trim(), calls: await readCalls(log, folder) };
}

/** Writes two files, and says of each how that went. */
const TWO_FILES = `
for (const name of ["a", "b"]) {
  try {
    Deno.writeTextFileSync(folder + "/" + name, "text of eight");
    console.log("written");
  } catch (error) {
    console.log(error.message.replace(/.*(os error \\d+).*/, "$1"));
  }
}`;

function firstOf(calls: readonly FileCall[], kind: string): number {
  const call = calls.find((each) => each.kind === kind);
  ok(call, `no ${kind} among ${calls.map((each) => each.kind).join(", ")}`);
  return call.number;
}

Deno.test("the shim sees each call of a durable write in its order, and none outside its folder", async () => {
  await withScratch(async (folder) => {
    const { calls } = await watched(
      folder,
      `const { writeTextAtomically } = await import("${FILES}write.ts");
       await writeTextAtomically(folder + "/a", "text");
       const other = Deno.makeTempFileSync();
       Deno.writeTextFileSync(other, "elsewhere");
       Deno.removeSync(other);`,
    );
    const changes = calls.filter(({ kind }) => ["create", "write", "sync", "rename"].includes(kind));
    deepEqual(changes.map(({ kind }) => kind), ["create", "write", "sync", "rename", "sync"]);
    deepEqual(changes.slice(3).map(({ path }) => path), ["a", ""]);
    deepEqual(calls.map(({ number }) => number), calls.map((_, i) => i + 1));
  });
});

Deno.test("the shim makes one call fail, or that and all later ones of its kind, as it is told", async () => {
  await withScratch(async (folder) => {
    const { calls, text } = await watched(folder, TWO_FILES);
    equal(text, "written\nwritten");
    const at = firstOf(calls, "write");
    const once = await watched(folder, TWO_FILES, { at, action: "fail:28" });
    equal(once.text, "os error 28\nwritten");
    deepEqual(once.calls.filter(({ struck }) => struck).map(({ number }) => number), [at]);
    equal((await watched(folder, TWO_FILES, { at, action: "stay:28" })).text, "os error 28\nos error 28");
    equal(
      (await watched(folder, TWO_FILES, { at: firstOf(calls, "create"), action: "fail:24" })).text,
      "os error 24\nwritten",
    );
  });
});

Deno.test("the shim cuts a write in half, and its caller writes the rest", async () => {
  await withScratch(async (folder) => {
    const { calls } = await watched(folder, TWO_FILES);
    const short = await watched(folder, TWO_FILES, { at: firstOf(calls, "write"), action: "short" });
    equal(short.text, "written\nwritten");
    equal(short.calls.filter(({ kind, path }) => kind === "write" && path === "a").length, 2);
    equal(Deno.readTextFileSync(`${folder}/a`), "text of eight");
  });
});

Deno.test("the shim kills a process right before a call, or right after it", async () => {
  await withScratch(async (folder) => {
    const { calls } = await watched(folder, TWO_FILES);
    for (const [action, left] of [["kill-before", ""], ["kill-after", "text of eight"]] as const) {
      const killed = await watched(folder, TWO_FILES, { at: firstOf(calls, "write"), action });
      equal(killed.signal, "SIGKILL");
      equal(killed.text, "");
      equal(Deno.readTextFileSync(`${folder}/a`), left, action);
    }
  });
});

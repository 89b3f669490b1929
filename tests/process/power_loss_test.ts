// SPDX-License-Identifier: Apache-2.0
/** The states that a loss of power may leave: a writer that waits for the disk breaks no promise, one that forgets to is found out. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { type ChangeLog, readChangeLog, writingChanges } from "../../scripts/faults/change_log.ts";
import { examine } from "../../scripts/faults/disk_promises.ts";
import { bytesOf, crashPoints, filesOf, nodeAt, stateOf } from "../../scripts/faults/disk_states.ts";
import { withScratch } from "../../scripts/folders.ts";

const FILES = ["parameters.safetensors", "optimizer.safetensors", "state.json", "manifest.json"];
const NEVER = /^\b$/;

/** What code changes in a folder, in a process of its own. */
async function changesOf(code: string): Promise<ChangeLog> {
  return await withScratch(async (folder) => {
    const log = await Deno.makeTempFile();
    const source = `const folder = ${JSON.stringify(folder)};\n${code}`;
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--no-lock", source],
      env: { NO_COLOR: "1", ...await writingChanges(folder, "eval", log) },
    }).output();
    ok(success, new TextDecoder().decode(stderr));
    return await withScratch((empty) => readChangeLog(log, folder, empty));
  });
}

/** Saves a checkpoint durably, but for what is forgotten. */
function saving(forgotten: string): string {
  return `
  const at = (path) => folder + "/" + path;
  const sync = (path) => {
    if (path === ${JSON.stringify(forgotten)}) return;
    using file = Deno.openSync(at(path));
    file.syncSync();
  };
  const made = "run/checkpoints/.new";
  for (const path of ["run", "run/checkpoints", made]) {
    Deno.mkdirSync(at(path));
    sync(path.split("/").slice(0, -1).join("/"));
  }
  for (const name of ${JSON.stringify(FILES)}) {
    Deno.writeTextFileSync(at(made + "/" + name), "bytes of " + name);
    sync(made + "/" + name);
  }
  sync(made);
  Deno.writeTextFileSync(at("run/metrics.jsonl"), '{"step":1}\\n');
  sync("run/metrics.jsonl");
  sync("run");
  Deno.renameSync(at(made), at("run/checkpoints/step-000001"));
  sync("run/checkpoints");
  console.log("saved run/checkpoints/step-000001");`;
}

Deno.test("a checkpoint that was waited for breaks no promise; one call that is forgotten does", async () => {
  const { moments, states, problems } = await examine(await changesOf(saving("nothing")), NEVER, 1);
  deepEqual([...problems], []);
  ok(moments > 20 && states > 30, `${states} states of ${moments} moments`);
  const made = "run/checkpoints/.new";
  const calls = [
    "",
    "run",
    "run/checkpoints",
    made,
    "run/metrics.jsonl",
    ...FILES.map((name) => `${made}/${name}`),
  ];
  for (const forgotten of calls) {
    const found = await examine(await changesOf(saving(forgotten)), NEVER, 1);
    ok(found.problems.size > 0, `nobody missed the sync of "${forgotten}"`);
  }
});

Deno.test("a folder that is renamed before its names are on the disk is found out", async () => {
  const renaming = (synced: boolean) => `
    Deno.mkdirSync(folder + "/.new");
    Deno.writeTextFileSync(folder + "/.new/a", "bytes");
    Deno.openSync(folder + "/.new/a").syncSync();
    if (${synced}) Deno.openSync(folder + "/.new").syncSync();
    Deno.renameSync(folder + "/.new", folder + "/whole");
    Deno.openSync(folder).syncSync();`;
  deepEqual([...(await examine(await changesOf(renaming(true)), NEVER, 1)).problems], []);
  const { problems } = await examine(await changesOf(renaming(false)), NEVER, 1);
  ok(problems.has("whole is there without a"), [...problems.keys()].join("\n"));
});

Deno.test("all that was written is in the state where nothing is lost, and only what was waited for where all is", async () => {
  const log = await changesOf(`
    const path = folder + "/a";
    Deno.writeTextFileSync(path, "first, ");
    Deno.openSync(path).syncSync();
    Deno.openSync(folder).syncSync();
    Deno.writeTextFileSync(path, "second", { append: true });
    Deno.copyFileSync(path, folder + "/b");
    Deno.truncateSync(path, 3);
    Deno.renameSync(folder + "/b", folder + "/c");`);
  const end = [...crashPoints(log)].at(-1);
  ok(end !== undefined);
  const all = stateOf(end, end.pending.map(() => "there"));
  const none = stateOf(end, end.pending.map(() => "lost"));
  const textOf = async (state: typeof all, path: string) => {
    const node = nodeAt(state, path);
    ok(node !== null && !node.isFolder, path);
    return new TextDecoder().decode(await bytesOf(state, node));
  };
  deepEqual([...filesOf(all)].map(({ path }) => path).sort(), ["a", "c"]);
  equal(await textOf(all, "a"), "fir");
  equal(await textOf(all, "c"), "first, second");
  deepEqual([...filesOf(none)].map(({ path }) => path), ["a"]);
  equal(await textOf(none, "a"), "first, ");
});

// SPDX-License-Identifier: Apache-2.0
/** What campaigns of faults take for a violation: each kind is noticed, and what is as it should be is not. */
import { deepEqual, equal, match } from "node:assert/strict";
import { writeManifest } from "../../../lib/train/manifest.ts";
import {
  announcedProblems,
  differences,
  endProblems,
  finalPath,
  halfWritten,
  messageProblems,
  snapshot,
} from "../../../scripts/faults/check.ts";
import { withScratch } from "../../../scripts/folders.ts";
import { formatReports } from "../../../scripts/faults/report.ts";
import type { Ended, FileCall } from "../../../scripts/faults/struck.ts";

const ENDED: Ended = { code: 0, signal: null, stdout: "", stderr: "", hung: false, ms: 1, calls: [] };
const CALL: FileCall = {
  number: 3,
  kind: "write",
  path: "run/.run.json.0f8fad5b-d9cb-469f-a165-70867728950e.part",
  struck: true,
};

Deno.test("endProblems() wants one message of a failure, without a stack, and no signal or other code", () => {
  const problems = (ended: Partial<Ended>) => endProblems({ ...ENDED, ...ended });
  deepEqual(problems({}), []);
  deepEqual(problems({ code: 1, stderr: "Cannot write x: no room\n" }), []);
  deepEqual(problems({ code: 2, stderr: "The data has 2 problems:\n  - a\n  - b\n" }), []);
  const cell = '1 of 2 cells failed; the first was "seed=1": Cannot write x\n';
  deepEqual(problems({ code: 1, stderr: cell }), []);
  match(problems({ code: 1 })[0] ?? "", /no word/);
  match(problems({ code: 1, stderr: "Cannot write x\nand then\n" })[0] ?? "", /2 lines/);
  match(problems({ code: 1, stderr: "Error: x\n    at f (file:///a.ts:1:2)\n" })[0] ?? "", /stack/);
  match(problems({ code: 139, signal: "SIGSEGV" })[0] ?? "", /SIGSEGV/);
  match(problems({ code: 3 })[0] ?? "", /ended with 3/);
  match(problems({ hung: true })[0] ?? "", /hung/);
});

Deno.test("messageProblems() wants path and first cause", () => {
  const problems = (stderr: string) => messageProblems({ ...ENDED, code: 1, stderr }, CALL, 28);
  deepEqual(
    problems("Cannot write run/run.json: there is no room (No space left on device (os error 28))"),
    [],
  );
  match(problems("Cannot write run/run.json: it failed")[0] ?? "", /cause/);
  match(problems("Cannot write: No space left on device")[0] ?? "", /path/);
  deepEqual(
    messageProblems({ ...ENDED, code: 2, stderr: "It is empty" }, { ...CALL, kind: "entry" }, 28),
    [],
  );
  const mistaken = { ...ENDED, code: 2, stderr: "Cannot write run/run.json: No space left on device" };
  match(messageProblems(mistaken, CALL, 28)[0] ?? "", /expected 1/);
  const forbidden = (code: number, before: string) => {
    const stderr = `${before}Cannot write run/run.json: Permission denied (os error 13)`;
    return messageProblems({ ...ENDED, code, stderr }, CALL, 13);
  };
  deepEqual(forbidden(2, ""), []);
  match(forbidden(1, "")[0] ?? "", /expected 2/);
  // A study whose other cells are done has failed, whoever is to blame for one.
  deepEqual(forbidden(1, '1 of 2 cells failed; the first was "seed=1": '), []);
  equal(
    finalPath("run/checkpoints/.step-000002.partial/state.json"),
    "run/checkpoints/step-000002/state.json",
  );
});

Deno.test("differences() tells what is missing, other or left over, but for times and what is optional", async () => {
  await withScratch(async (folder) => {
    const write = (path: string, text: string) => Deno.writeTextFile(`${folder}/${path}`, text);
    await write("a", "1");
    await write("metrics.jsonl", '{"step":1,"loss":2,"time":3}\n');
    await write("report.html", "<html></html>");
    const whole = await snapshot(folder);
    await write("metrics.jsonl", '{"step":1,"loss":2,"time":4}\n');
    deepEqual(differences(whole, await snapshot(folder), null), []);
    await write("metrics.jsonl", '{"step":1,"loss":5,"time":3}\n');
    await write("b", "");
    await Deno.remove(`${folder}/a`);
    await Deno.remove(`${folder}/report.html`);
    deepEqual(differences(whole, await snapshot(folder), /report/), [
      "a is missing",
      "metrics.jsonl is not as without the fault",
      "b is left over",
    ]);
  });
});

Deno.test("halfWritten() and announcedProblems() tell checkpoints that are not whole, and files that are cut off", async () => {
  await withScratch(async (folder) => {
    const checkpoint = `${folder}/run/checkpoints/step-000002`;
    await Deno.mkdir(checkpoint, { recursive: true });
    const names = ["parameters.safetensors", "optimizer.safetensors", "state.json"];
    for (const name of names) await Deno.writeTextFile(`${checkpoint}/${name}`, "{}");
    await writeManifest(checkpoint, names);
    const whole = await snapshot(folder);
    const said = { ...ENDED, stdout: "saved run/checkpoints/step-000002\n" };
    deepEqual(await halfWritten(folder, whole), []);
    deepEqual(await announcedProblems(folder, said), []);
    await Deno.mkdir(`${folder}/run/.unfinished.part`);
    await Deno.writeTextFile(`${folder}/run/.unfinished.part/run.json`, "{");
    deepEqual(await halfWritten(folder, whole), []);
    await Deno.writeTextFile(`${checkpoint}/state.json`, "[]");
    await Deno.writeTextFile(`${folder}/run/run.json`, "{");
    const problems = (await halfWritten(folder, whole)).join("\n");
    match(problems, /step-000002\/state\.json is not what it will be/);
    match(problems, /step-000002: state\.json/);
    match(problems, /run\/run\.json is cut off/);
    match((await announcedProblems(folder, said))[0] ?? "", /said to be saved/);
  });
});

Deno.test("formatReports() shows all counts, and with each violation the command that shows it again", () => {
  const failures = [{ what: "it hung", how: 'deno task faults --case "kills train chain 1 2"' }];
  const text = formatReports([{ name: "kills", counts: { killed: 12 }, failures }, {
    name: "fuzz",
    counts: {},
    failures: [],
  }]);
  deepEqual(text.split("\n"), [
    "kills  killed      12",
    "       violations   1",
    "fuzz   violations   0",
    "VIOLATION in kills: it hung",
    '  again: deno task faults --case "kills train chain 1 2"',
  ]);
});

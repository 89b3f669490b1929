// SPDX-License-Identifier: Apache-2.0
/** The one list of instruction sets: what is read of it, and that nothing else names one. */
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { filesBelow } from "../../../scripts/folders.ts";
import { parseTargets, targetsHeader, targetsModule } from "../../../scripts/targets.ts";

const ROOT = new URL("../../../", import.meta.url);
const LIST = "csrc/cpu/targets.def";
const GENERATED = ["lib/native/targets.ts", "csrc/include/meft_targets.h"];

const TEXT = `// MEFT_TARGET(number, name, …)
MEFT_TARGET(1, first, 4, 8, 0, 24, 2048, 0, ".*", "", true)
MEFT_TARGET(9, second_one, 8, 32, 1, 32, 8192, 1, "x86_64|AMD64",
            "-msecond -mone",
            MEFT_RUNS(first) && MEFT_HAS(one))
`;

/** Whether a file is a source of ours. */
function isSource(path: string): boolean {
  return /\.(ts|h|cpp|cu|cuh|txt|cmake|py|sh|def)$/.test(path);
}

Deno.test("parseTargets() reads every entry of the list, in its order", () => {
  assert.deepEqual(parseTargets(TEXT), [
    {
      name: "first",
      number: 1,
      vectorLanes: 4,
      panelColumns: 8,
      multipliesBf16: false,
      rowBlock: 24,
      depthBytes: 2048,
      inTiles: false,
    },
    {
      name: "second_one",
      number: 9,
      vectorLanes: 8,
      panelColumns: 32,
      multipliesBf16: true,
      rowBlock: 32,
      depthBytes: 8192,
      inTiles: true,
    },
  ]);
});

Deno.test("parseTargets() refuses an entry of another form, and two of one name or number", () => {
  assert.throws(() => parseTargets(`${TEXT}MEFT_TARGET(3, third, 4, 8, yes, 24, 2048, 0, "", "", true)\n`), {
    name: "SyntaxError",
    message: "Read 2 of 3 targets",
  });
  assert.throws(
    () => parseTargets(`${TEXT}MEFT_TARGET(9, third, 4, 8, 0, 24, 2048, 0, "", "", true)\n`),
    /one number/,
  );
  assert.throws(
    () => parseTargets(`${TEXT}MEFT_TARGET(3, first, 4, 8, 0, 24, 2048, 0, "", "", true)\n`),
    /one name/,
  );
});

Deno.test("the list's numbers and facts are written for C and for TypeScript, the first as the baseline", () => {
  const targets = parseTargets(TEXT);
  assert.match(targetsHeader(targets), /#define MEFT_TARGET_FIRST 1\n#define MEFT_TARGET_SECOND_ONE 9\n/);
  const module = targetsModule(targets);
  const facts = "panelColumns: 32, multipliesBf16: true, rowBlock: 32, depthBytes: 8192, inTiles: true";
  assert.ok(module.includes(`second_one: { number: 9, vectorLanes: 8, ${facts} }`));
  assert.match(module, /BASELINE_TARGET = "first"/);
});

Deno.test("every target has its file, and each file there is a target's", async () => {
  const names = parseTargets(await Deno.readTextFile(new URL(LIST, ROOT))).map(({ name }) => `${name}.h`);
  assert.deepEqual(await filesBelow(fileURLToPath(new URL("csrc/cpu/simd", ROOT))), names.toSorted());
});

Deno.test("no target is named but in the list, in its own file and in what is generated", async () => {
  const names = parseTargets(await Deno.readTextFile(new URL(LIST, ROOT))).map(({ name }) => name);
  const forms = names.flatMap((name) => [
    `["'\`]${name}["'\`]`, // a string
    `\\b${name}::`,
    `\\bnamespace ${name}\\b`,
    `\\b${name}\\.h\\b`,
    `\\bMEFT_(TARGET|BUILT)_${name}\\b`,
    ...(/\d/.test(name) ? [`\\b${name}\\b`] : []), // no word of the language
  ]);
  const pattern = new RegExp(forms.join("|"), "i");
  const named: string[] = [];
  for (const folder of ["csrc", "lib", "scripts"]) {
    for (const below of (await filesBelow(fileURLToPath(new URL(folder, ROOT)))).filter(isSource)) {
      const path = `${folder}/${below}`;
      if (path === LIST || GENERATED.includes(path) || path.startsWith("csrc/cpu/simd/")) continue;
      const lines = (await Deno.readTextFile(new URL(path, ROOT))).split("\n");
      lines.forEach((line, i) => {
        if (pattern.test(line)) named.push(`${path}:${i + 1}: ${line.trim()}`);
      });
    }
  }
  assert.deepEqual(named, []);
});

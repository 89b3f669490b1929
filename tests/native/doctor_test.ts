// SPDX-License-Identifier: Apache-2.0
/** What doctor finds of the native side, here and where parts of it are missing. */
import assert from "node:assert/strict";
import { type NativeFacts, nativeFacts } from "../../lib/native/doctor.ts";
import { buildInfo, libraryPath, openLibrary } from "../../lib/native/library.ts";
import { NativeContext } from "../../lib/native/context.ts";
import { missingTools } from "../../lib/native/tools.ts";

const DOCTOR = new URL("../../lib/native/doctor.ts", import.meta.url).href;

/** What is found by a process of its own. */
async function factsWith(env: Readonly<Record<string, string>>): Promise<NativeFacts> {
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      "--quiet",
      `import { nativeFacts } from "${DOCTOR}"; console.log(JSON.stringify(await nativeFacts()));`,
    ],
    env: { ...env, NO_COLOR: "1" },
  }).output();
  const output = new TextDecoder().decode(stdout);
  assert.ok(output !== "", new TextDecoder().decode(stderr));
  return JSON.parse(output);
}

Deno.test("nativeFacts() are those of the library and of a context with the defaults", async () => {
  const facts = await nativeFacts();
  const library = openLibrary();
  assert.equal(facts.libraryPath, libraryPath());
  assert.equal(facts.abi, `${library.abi.major}.${library.abi.minor}`);
  assert.deepEqual(facts.build, buildInfo(library));
  using lane = new NativeContext();
  assert.equal(facts.context?.target, lane.info().target);
  assert.equal(facts.context?.threads, lane.info().threads);
  assert.equal(facts.cores, navigator.hardwareConcurrency);
  assert.equal(facts.oneDnn, buildInfo(library).gemm.includes("onednn"));
  const names = facts.missing.map(({ name }) => name);
  assert.equal(names.includes("oneDNN"), !facts.oneDnn);
  assert.equal(names.includes("CUDA"), facts.cuda.problem !== null);
  assert.equal(names.includes("build tools"), (await missingTools()).length > 0);
  assert.ok(!names.includes("libmeft") && !names.includes("a working context"));
  for (const { name, optional } of facts.missing) {
    assert.equal(optional, name === "oneDNN" || name === "CUDA", name);
  }
});

Deno.test("nativeFacts() without library, tools or compiler say what is missing and how to get it", async () => {
  const facts = await factsWith({
    MEFT_LIB: "/nowhere/libmeft.so",
    MEFT_CUDA_LIBRARY: "/nowhere/cuda.so",
    PATH: "/nowhere",
  });
  assert.deepEqual([facts.abi, facts.build, facts.context, facts.oneDnn, facts.nvcc], [
    null,
    null,
    null,
    false,
    null,
  ]);
  const byName = new Map(facts.missing.map((missing) => [missing.name, missing]));
  assert.deepEqual([...byName.keys()], ["build tools", "libmeft", "CUDA"]);
  assert.match(
    byName.get("build tools")!.remedy,
    /cmake, c\+\+ or g\+\+ or clang\+\+, ninja or make not found.*apt-get install -y cmake g\+\+ ninja-build/,
  );
  assert.match(byName.get("libmeft")!.effect, /Cannot open the native library \/nowhere\/libmeft\.so/);
  assert.equal(byName.get("libmeft")!.remedy, "deno task build");
  assert.match(byName.get("CUDA")!.remedy, /there is no \/nowhere\/cuda\.so/);
  assert.deepEqual([...byName.values()].map(({ optional }) => optional), [false, false, true]);
});

Deno.test("nativeFacts() of an environment that no context can have say which variables to unset", async () => {
  const facts = await factsWith({ MEFT_FORCE_TARGET: "avx9" });
  assert.notEqual(facts.build, null);
  assert.equal(facts.context, null);
  const missing = facts.missing.find(({ name }) => name === "a working context");
  assert.match(missing?.effect ?? "", /target \(or MEFT_FORCE_TARGET\) is "avx9"/);
  assert.match(missing?.remedy ?? "", /unset MEFT_FORCE_TARGET, MEFT_GEMM and MEFT_THREADS/);
  assert.equal(missing?.optional, false);
});

// SPDX-License-Identifier: Apache-2.0
/** Tasks have the permissions that their work takes, by name, and no others. */
import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { LIBRARY_VERSION } from "../../lib/data/tokenizer_library.ts";
import { libraryPath } from "../../lib/native/library.ts";
import { binaryName } from "../../scripts/tokenizers_binary.ts";
import { withFolder } from "../fixtures/folder.ts";
import { commandLine, DEMO_FACTS, DEMO_MODEL, runCommandLine, SMALL_RUN } from "./command.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);
const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`)) as {
  tasks: Record<string, { command: string }>;
};

/** Tasks that run tests, compilers and interpreters of people who work on meft: what those are and load is theirs. */
const OF_DEVELOPERS: Readonly<Record<string, readonly string[]>> = {
  test: ["--allow-run"],
  ok: ["--allow-run"],
  notebooks: ["--allow-run"],
  asan: ["--allow-run"],
  parity: ["--allow-run"],
  bench: ["--allow-run"],
  mutants: ["--allow-all"],
  faults: ["--allow-all"],
  "study:encoder": ["--allow-all"],
  "study:reversible": ["--allow-all"],
};

const TOOLS = ["cmake", "c++", "g++", "clang++", "ninja", "make", "ccache"];
/** See scripts/ffi_permission.sh. */
const HOST = ["libraries of the host"];
const DEVICE = ["libraries of the host", "a device's memory"];
const SYSTEM = ["systemMemoryInfo", "statfs"];
/** Other tests of this process name the emulated device. */
const NO_DEVICE = { MEFT_CUDA_LIBRARY: "" };

/** What else than files and variables the tasks of users may reach. */
const REACH: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>> = {
  train: { ffi: DEVICE, run: ["deno", ...TOOLS], sys: SYSTEM, net: ["127.0.0.1"] },
  ablate: { ffi: DEVICE, run: TOOLS, sys: SYSTEM },
  evaluate: { ffi: DEVICE, run: TOOLS },
  generate: { ffi: DEVICE, run: TOOLS },
  merge: { ffi: HOST, run: TOOLS },
  preview: { ffi: HOST },
  report: { net: ["127.0.0.1"] },
  doctor: { ffi: HOST, run: [...TOOLS, "nvcc"] },
  completion: {},
  build: { run: TOOLS },
};

/** Permissions of a command: what follows each flag, null where nothing does. */
function permissionsOf(command: string): Map<string, readonly string[] | null> {
  const flags = [...command.matchAll(/--allow-([a-z]+)(?:=([^" ]+))?/g)];
  const found = new Map(flags.map(([, kind, names]) => [kind as string, names?.split(",") ?? null]));
  const [script, word] = /\$\(sh scripts\/ffi_permission\.sh( host)?\)/.exec(command) ?? [];
  if (script !== undefined) found.set("ffi", word === undefined ? DEVICE : HOST);
  return found;
}

Deno.test("no task asks, and none but those of developers may do all of a kind but read and write", () => {
  for (const [task, { command }] of Object.entries(tasks)) {
    const bare = [...permissionsOf(command)].filter(([kind, names]) =>
      names === null && !["read", "write"].includes(kind)
    );
    deepStrictEqual(bare.map(([kind]) => `--allow-${kind}`), OF_DEVELOPERS[task] ?? [], task);
    if (!bare.some(([kind]) => kind === "all")) match(command, / --no-prompt /, task);
  }
});

Deno.test("tasks of users load, run and reach what their work takes", () => {
  for (const [task, reach] of Object.entries(REACH)) {
    const { read: _, write: __, env: ___, ...found } = Object.fromEntries(
      permissionsOf(tasks[task]?.command ?? ""),
    );
    deepStrictEqual(found, reach, task);
  }
});

Deno.test("tasks load the libraries of build and those that are named; all of FFI is for a device alone", async () => {
  const flag = async (env: Record<string, string>, ...words: string[]) => {
    const cleared = { MEFT_LIB: "", MEFT_CUDA_LIBRARY: "", NAPI_RS_NATIVE_LIBRARY_PATH: "" };
    const { stdout } = await new Deno.Command("sh", {
      args: [`${ROOT}scripts/ffi_permission.sh`, ...words],
      env: { ...cleared, ...env },
      cwd: `${ROOT}scripts`,
    }).output();
    return new TextDecoder().decode(stdout);
  };
  const named = { MEFT_LIB: "/a b/libmeft.so", MEFT_CUDA_LIBRARY: "/c,d/libmeft_cuda.so" };
  strictEqual(await flag({}, "host"), "--allow-ffi=build");
  strictEqual(await flag(named, "host"), "--allow-ffi=build,/a b/libmeft.so,/");
  strictEqual(await flag(named), "--allow-ffi");
});

Deno.test("tasks may read every variable that the code asks for, and no other", async () => {
  const asked = new Set<string>();
  for (const folder of ["lib", "scripts"]) await collectVariables(`${ROOT}${folder}`, asked);
  const ofPackages = ["NAPI_RS_FORCE_WASI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"];
  const granted = new Set(
    Object.values(tasks).flatMap(({ command }) => permissionsOf(command).get("env") ?? []),
  );
  deepStrictEqual([...granted].sort(), [...new Set([...asked, ...ofPackages])].sort());
});

/** Names of variables that stand in the code, where it reads one or lists those it reads. */
async function collectVariables(folder: string, asked: Set<string>): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) await collectVariables(path, asked);
    else if (name.endsWith(".ts")) {
      const text = Deno.readTextFileSync(path);
      if (!/readEnv|Deno\.env/.test(text)) continue;
      const names = text.matchAll(/"((?:MEFT|NAPI_RS|XDG|LD)_[A-Z_]+|HOME|USERPROFILE)"/g);
      for (const [, variable] of names) asked.add(variable as string);
    }
  }
}

/** Runs a command and collects what it asked Deno for, by kind, its own files left out. */
async function audit(folder: string, args: readonly string[]): Promise<Record<string, string[]>> {
  const path = `${folder}/audit.jsonl`;
  const [program = "", ...words] = commandLine(args);
  const { code, stderr } = await new Deno.Command(program, {
    args: words,
    stdout: "null",
    env: { DENO_AUDIT_PERMISSIONS: path, ...NO_DEVICE },
  }).output();
  strictEqual(code, 0, `${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  const lines = Deno.readTextFileSync(path).split("\n").filter((line) => line !== "");
  Deno.removeSync(path);
  const used = lines.map((line) => JSON.parse(line) as { permission: string; value: unknown })
    .filter(({ permission }) => ["ffi", "run", "sys", "net"].includes(permission))
    // It is opened wherever it was built, to look for a device.
    .filter(({ value }) => !String(value).endsWith("/libmeft_cuda.so"));
  return Object.fromEntries(
    Object.entries(Object.groupBy(used, ({ permission }) => permission)).map(([kind, found = []]) => [
      kind,
      [...new Set(found.map(({ value }) => String(value)))].sort(),
    ]),
  );
}

Deno.test("every command does its work with its task's permissions, and needs them", () =>
  withFolder(async (folder) => {
    const library = libraryPath();
    const binary = `${ROOT}build/${LIBRARY_VERSION}-${binaryName(Deno.build)}`;
    const data = ["--data", DEMO_FACTS];
    const model = ["--model", DEMO_MODEL];
    const out = (name: string) => ["--out", `${folder}/${name}`];
    // It starts a Deno of its own, whose account would overwrite this one's.
    const ran = await runCommandLine("train", ...SMALL_RUN, "--steps", "2", "--watch", ...out("run"));
    strictEqual(ran.code, 0, ran.stderr);
    match(ran.stdout, /^watch the run at http:/m);
    ok(Deno.statSync(`${folder}/run/report.html`).isFile, ran.stdout);
    const studied = await audit(folder, [
      "ablate",
      "--grid",
      "top-k=8",
      "--steps",
      "1",
      "--limit",
      "1",
      ...out("s"),
    ]);
    deepStrictEqual(studied, { ffi: [binary, library].sort(), sys: [...SYSTEM].sort() });
    const both = { ffi: [binary, library].sort() };
    deepStrictEqual(await audit(folder, ["evaluate", ...model, ...data, "--limit", "2"]), both);
    deepStrictEqual(await audit(folder, ["generate", "--prompt", "The", "--max-new-tokens", "1"]), both);
    deepStrictEqual(await audit(folder, ["preview", ...data, ...model]), { ffi: [binary] });
    deepStrictEqual(await audit(folder, ["report", "--run", `${folder}/run`, "--tensorboard"]), {});
    deepStrictEqual(await audit(folder, ["completion", "fish"]), {});
    strictEqual((await runCommandLine("doctor", "--methods")).code, 0);
    strictEqual((await runCommandLine("doctor")).code, 0);
    const lora = ["train", ...model, ...data, "--method", "lora", "--steps", "1", "--examples", "0"];
    strictEqual((await runCommandLine(...lora, "--seq-len", "64", ...out("lora"))).code, 0);
    const merge = ["merge", "--adapter", `${folder}/lora/adapter`, ...out("merged")];
    deepStrictEqual(Object.keys(await audit(folder, merge)), ["ffi"]);
  }));

Deno.test("a library elsewhere, with a comma in its path, is loaded; programs start whatever the loader is told", () =>
  withFolder(async (folder) => {
    const elsewhere = `${folder}/a,b c`;
    Deno.mkdirSync(elsewhere);
    Deno.copyFileSync(libraryPath(), `${elsewhere}/libmeft.so`);
    const run = async (env: Record<string, string>, ...args: string[]) => {
      const [program = "", ...words] = commandLine(args);
      const { code, stdout, stderr } = await new Deno.Command(program, { args: words, env }).output();
      const decoder = new TextDecoder();
      return { code, text: decoder.decode(stdout) + decoder.decode(stderr) };
    };
    const named = await run({ MEFT_LIB: `${elsewhere}/libmeft.so` }, "doctor", "--json");
    strictEqual(named.code, 0, named.text);
    ok(named.text.includes(`${elsewhere}/libmeft.so`), named.text);
    const flags = ["train", ...SMALL_RUN, "--steps", "1", "--examples", "0", "--out", `${folder}/run`];
    const trained = await run({ LD_LIBRARY_PATH: "/nowhere", LD_RUN_PATH: "/nowhere" }, ...flags);
    strictEqual(trained.code, 0, trained.text);
    ok(Deno.statSync(`${folder}/run/report.html`).isFile, trained.text);
  }));

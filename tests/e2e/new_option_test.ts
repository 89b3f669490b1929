// SPDX-License-Identifier: Apache-2.0
/**
 * What a new option costs: one line beside what reads it. In a copy of the code a line is added to the options of the sparse
 * adapter and one to those of AdamW, and an adapter is made up in a file and a line of the registry; then all that a user can
 * do with an option is done with theirs.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { withFolder } from "../fixtures/folder.ts";
import { DEMO_FACTS, DEMO_MODEL, ROOT, runCommandLine } from "./command.ts";

/** The parallel adapter by another name, with an option of its own. */
const TWIN = `// SPDX-License-Identifier: Apache-2.0
import { integer, type OptionsOf } from "../core/options.ts";
import type { ModelConfig } from "../models/model.ts";
import type { Adapter, Resolved } from "./adapter.ts";
import type { AdapterDefinition } from "./definition.ts";
import { PARALLEL } from "./parallel.ts";

const OPTIONS = {
  ...PARALLEL.options,
  twinFoo: integer({ min: 2, default: 3, help: "how alike twins are" }),
} as const;

export const TWIN = {
  ...PARALLEL,
  kind: "twin",
  summary: "a twin",
  options: OPTIONS,
  lr: 2e-4,
  resolve({ twinFoo = 3, ...options }: OptionsOf<typeof OPTIONS>, model: ModelConfig): Resolved {
    const { adapter: parallel, problems } = PARALLEL.resolve(options, model);
    const adapter: Adapter = {
      ...parallel,
      kind: "twin",
      config: { ...parallel.config, twinFoo },
      create: (...args) => ({ ...parallel.create(...args), adapter }),
    };
    return { adapter, problems };
  },
} as const satisfies AdapterDefinition<typeof OPTIONS>;
`;

/** What the types of the public interface know of all three. */
const TYPED = `import * as meft from "./mod.ts";
export const method: meft.Method = meft.sparse({ sparseFoo: 2 });
export const optimizer = meft.adamw({ adamFoo: 0.25 });
export const settings: meft.TrainSettings = { sparseFoo: 2, adamFoo: 0.25, twinFoo: 4 };
// @ts-expect-error It is a number.
export const wrong: meft.TrainSettings = { sparseFoo: "2" };
`;

/** A copy of the code with a change of some of its files. */
async function copyCode(to: string, edits: Readonly<Record<string, (text: string) => string>>) {
  for (const name of ["lib", "scripts"]) {
    await new Deno.Command("cp", { args: ["-r", join(ROOT, name), to] }).output();
  }
  for (const name of ["mod.ts", "deno.json", "deno.lock", "notebooks", "build"]) {
    await Deno.symlink(join(ROOT, name), join(to, name));
  }
  // A link would be the module that it points to.
  await Deno.remove(join(to, "mod.ts"));
  await Deno.copyFile(join(ROOT, "mod.ts"), join(to, "mod.ts"));
  for (const [name, edit] of Object.entries(edits)) {
    const path = join(to, name);
    const text = await Deno.readTextFile(path);
    assert.notEqual(edit(text), text, name);
    await Deno.writeTextFile(path, edit(text));
  }
  await Deno.writeTextFile(join(to, "lib/adapters/twin.ts"), TWIN);
  await Deno.writeTextFile(join(to, "typed.ts"), TYPED);
}

/** Adds a line at the end of a schema. */
function addTo(schema: string, line: string): (text: string) => string {
  return (text) => {
    const end = text.indexOf("\n} as const;", text.indexOf(`export const ${schema} = {`));
    return `${text.slice(0, end)}\n  ${line}${text.slice(end)}`;
  };
}

const EDITS = {
  "lib/adapters/sparse/config.ts": addTo(
    "SPARSE_OPTIONS",
    `sparseFoo: number({ min: 0, default: 1, help: "a number that nobody reads" }),`,
  ),
  "lib/optim/adamw.ts": addTo(
    "ADAMW_OPTIONS",
    `adamFoo: number({ min: 0, max: 1, default: 0.5, help: "another one" }),`,
  ),
  "lib/adapters/registry.ts": (text: string) =>
    text.replace("\n  FULL,\n", "\n  FULL,\n  TWIN,\n")
      .replace("\nimport { PARALLEL", '\nimport { TWIN } from "./twin.ts";\nimport { PARALLEL'),
};

const SMALL = ["--model", DEMO_MODEL, "--data", DEMO_FACTS, "--seq-len", "24", "--batch-size", "2"];
const TINY = [...SMALL, "--neurons", "16", "--experts", "4", "--examples", "0"];

Deno.test("a line declares an option: its flag, types, checks, help, completion, config key, grids, records and resumes", () =>
  withFolder(async (folder) => {
    const code = join(folder, "code");
    await Deno.mkdir(code);
    await copyCode(code, EDITS);
    const deno = async (args: readonly string[]) => {
      const { code: exit, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [...args],
        cwd: code,
        env: { NO_COLOR: "1", MEFT_LIB: Deno.env.get("MEFT_LIB") ?? join(ROOT, "build/cpu/libmeft.so") },
      }).output();
      const [out, errors] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)) as [
        string,
        string,
      ];
      return { exit, out, errors };
    };
    const meft = (...args: readonly string[]) =>
      deno(["run", "--quiet", "--no-check", "--allow-all", "scripts/meft.ts", ...args]);
    const ends = async (...args: readonly string[]) => {
      const { exit, out, errors } = await meft(...args);
      assert.equal(exit, 0, `${args.join(" ")}: ${errors}`);
      return out;
    };
    const fails = async (said: RegExp, ...args: readonly string[]) => {
      const { exit, errors } = await meft(...args);
      assert.notEqual(exit, 0, args.join(" "));
      assert.match(errors, said);
    };

    const types = await deno(["check", "--quiet", "typed.ts"]);
    assert.equal(types.exit, 0, types.errors);

    const help = (await ends("train", "--help")).replaceAll(/\s+/g, " ");
    assert.match(help, /--sparse-foo <number> a number that nobody reads \(default: 1\)/);
    assert.match(help, /--adam-foo <number> another one \(default: 0.5\)/);
    assert.match(help, /--twin-foo <number> how alike twins are \(default: 3\)/);
    assert.match(help, /--method <sparse\|parallel\|lora\|[a-z|]*full\|twin\|meft1\|meft2\|meft3>/);
    assert.match(help, /\(default: 4096; parallel 1024; bottleneck 8; twin 1024\)/);
    assert.match(help, /\(default: 1e-4; bottleneck 5e-4; full 1e-5; twin 2e-4; meft1 5e-4;/);
    assert.match(await ends("completion", "fish"), /-n '__meft_task train' -l sparse-foo -x/);

    await fails(/--sparse-foo is "-1", expected a number from 0$/m, "train", "--sparse-foo", "-1");
    await fails(
      /--sparse-foo does not apply to --method lora, only to sparse/,
      ...["train", "--method", "lora", "--sparse-foo", "2"],
    );
    await fails(/unknown flag --sparse-fooo; did you mean --sparse-foo\?/, "train", "--sparse-fooo", "2");

    const config = join(folder, "config.json");
    await Deno.writeTextFile(config, JSON.stringify({ sparseFoo: 2, "adam-foo": 0.25 }));
    const out = join(folder, "run");
    await ends("train", ...TINY, "--config", config, "--steps", "1", "--out", out);
    const { flags, identity } = JSON.parse(await Deno.readTextFile(join(out, "run.json")));
    assert.deepEqual([flags.sparseFoo, flags.adamFoo], [2, 0.25]);
    assert.deepEqual([identity.adapter.sparseFoo, identity.optimizer.adamFoo], [2, 0.25]);
    const saved = JSON.parse(await Deno.readTextFile(join(out, "adapter/adapter_config.json")));
    assert.equal(saved.settings.sparseFoo, 2);
    await fails(
      /--sparse-foo is 1, the run has 2: leave it as it was/,
      ...["train", "--resume", "--out", out, "--sparse-foo", "1", "--steps", "2"],
    );
    await ends("train", "--resume", "--out", out, "--steps", "2");
    await fails(
      /--sparse-foo does not apply with --adapter/,
      ...["train", ...SMALL, "--adapter", join(out, "adapter"), "--sparse-foo", "2"],
    );

    // What was begun before there was the option is the same run, and the same cell.
    const before = join(folder, "before");
    const begun = await runCommandLine("train", ...TINY, "--steps", "1", "--out", before);
    assert.equal(begun.code, 0, begun.stderr);
    await fails(
      /--adam-foo is 0.25, the run has 0.5: leave/,
      ...["train", "--resume", "--out", before, "--adam-foo", "0.25", "--steps", "2"],
    );
    await ends("train", "--resume", "--out", before, "--sparse-foo", "1", "--steps", "2");
    const study = ["ablate", ...TINY.slice(0, -2), "--steps", "1", "--metric", "none", "--list", "--json"];
    const listed = JSON.parse(
      await ends(...study, "--grid", "sparse-foo=1,2", "--grid", "adam-foo=0.5,0.25"),
    );
    assert.deepEqual(listed.cells.map(({ label }: { label: string }) => label), [
      "sparseFoo=1 adamFoo=0.5",
      "sparseFoo=1 adamFoo=0.25",
      "sparseFoo=2 adamFoo=0.5",
      "sparseFoo=2 adamFoo=0.25",
    ]);
    assert.equal(new Set(listed.cells.map(({ cell }: { cell: string }) => cell)).size, 4);
    const same = JSON.parse((await runCommandLine(...study)).stdout).cells[0].cell;
    assert.equal(listed.cells[0].cell, same);

    // An adapter is a file and a line.
    const twin = join(folder, "twin");
    await ends(
      ...["train", ...SMALL, "--method", "twin", "--neurons", "8", "--twin-foo", "5"],
      ...["--steps", "1", "--examples", "0", "--out", twin],
    );
    const record = JSON.parse(await Deno.readTextFile(join(twin, "run.json")));
    assert.deepEqual(record.identity.adapter, { kind: "twin", neurons: 8, initStd: 0.02, twinFoo: 5 });
    assert.equal(record.identity.optimizer.lr, 2e-4);
    await fails(
      /--twin-foo is "1", expected a whole number from 2/,
      "train",
      "--method",
      "twin",
      "--twin-foo",
      "1",
    );
    await ends("train", "--resume", "--out", twin, "--steps", "2");
  }));

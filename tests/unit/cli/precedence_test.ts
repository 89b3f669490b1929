// SPDX-License-Identifier: Apache-2.0
/** Every flag of every command: what was typed wins over the config file, and that over what the callee does without. */
import assert from "node:assert/strict";
import { COMMANDS } from "../../../lib/cli/commands/registry.ts";
import type { Flag, FlagValues } from "../../../lib/cli/flags/flags.ts";
import { camelCase } from "../../../lib/core/options.ts";
import { type CommandSpec, COMMON_FLAGS, runCommand } from "../../../lib/cli/program.ts";
import { withFolder } from "../../fixtures/folder.ts";
import { overheard } from "../../fixtures/said.ts";

/** Two values of a flag: as they are typed, as JSON has them, and as the command gets them. */
interface Value {
  readonly typed: readonly string[];
  readonly json: unknown;
  readonly read: unknown;
}

function valuesOf(flag: Flag): readonly [Value, Value] {
  const same = (text: string): Value => ({ typed: [text], json: text, read: text });
  const number = (value: number): Value => ({ typed: [String(value)], json: value, read: value });
  const list = (items: readonly string[]): Value => ({ typed: items, json: items, read: items });
  const [low, high] = [flag.min ?? 0, flag.max ?? 1000];
  switch (flag.kind) {
    case "switch":
      return [{ typed: [], json: true, read: true }, { typed: [], json: false, read: false }];
    case "text":
      return flag.choices ? [same(flag.choices[0]!), same(flag.choices[1]!)] : [same("off"), same("auto")];
    case "integer":
      return [number(Math.min(low + 2, high)), number(low + 1)];
    case "number":
      return [number((low + Math.min(high, low + 1)) / 2), number((low + Math.min(high, low + 1)) / 4)];
    case "integers":
      return [
        { typed: ["1-3,7"], json: [1, 2, 3, 7], read: [1, 2, 3, 7] },
        { typed: ["5"], json: 5, read: [5] },
      ];
    case "indices":
      return [
        { typed: ["1-3,7"], json: [1, 2, 3, 7], read: [1, 2, 3, 7] },
        { typed: ["a=5,8", "b=2"], json: { a: [5, 8], b: 2 }, read: { a: [5, 8], b: [2] } },
      ];
    case "numbers":
      return [
        { typed: ["a=1", "b=2.5"], json: { a: 1, b: 2.5 }, read: { a: 1, b: 2.5 } },
        { typed: ["c=3"], json: { c: 3 }, read: { c: 3 } },
      ];
    case "pairs":
      return [
        { typed: ["a=1", "b=x"], json: { a: 1, b: "x" }, read: { a: 1, b: "x" } },
        { typed: ["c=true"], json: { c: true }, read: { c: true } },
      ];
    case "texts":
      return flag.choices
        ? [list(flag.choices.slice(0, 2)), list(flag.choices.slice(1, 2))]
        : [list(["p", "q"]), list(["r"])];
    case "values":
      return [list(["1", "2"]), list(["3"])];
  }
}

/** What a command is run with; null when it is refused. */
async function valuesGiven(spec: CommandSpec, args: readonly string[]): Promise<FlagValues | null> {
  let values: FlagValues | null = null;
  const listening: CommandSpec = {
    ...spec,
    check: () => [], // what does not go together is no matter here
    run: (given) => {
      values = given;
      return Promise.resolve(0);
    },
  };
  await overheard(() => runCommand(listening, args));
  return values;
}

for (const spec of COMMANDS) {
  Deno.test(`${spec.name}: what is typed wins over the config file, which wins over what is not said at all`, () =>
    withFolder(async (folder) => {
      const config = `${folder}/config.json`;
      const others = [...spec.flags, ...COMMON_FLAGS].filter(({ name }) => name !== "config");
      assert.deepEqual(await valuesGiven(spec, []), {}, "no flag has a value of its own accord");
      for (const flag of others) {
        const [typed, told] = valuesOf(flag);
        const args = [`--${flag.name}`, ...typed.typed];
        const place = `${spec.name} --${flag.name}`;
        assert.deepEqual(await valuesGiven(spec, args), { [flag.name]: typed.read }, place);
        for (const key of new Set([flag.name, camelCase(flag.name)])) {
          await Deno.writeTextFile(config, JSON.stringify({ [key]: told.json }));
          const fromFile = await valuesGiven(spec, ["--config", config]);
          assert.deepEqual(
            fromFile,
            { config, [flag.name]: told.read },
            `${place} in a config file as ${key}`,
          );
          const both = await valuesGiven(spec, ["--config", config, ...args]);
          assert.deepEqual(both, { config, [flag.name]: typed.read }, `${place} typed and in a config file`);
        }
      }
    }));
}

Deno.test("a config file's flags stand beside those that are typed, and --json and --quiet count there too", () =>
  withFolder(async (folder) => {
    const [train] = COMMANDS as [CommandSpec];
    const config = `${folder}/config.json`;
    await Deno.writeTextFile(config, '{"lr": 0.5, "top-k": 4, "out": "a", "json": true, "quiet": true}');
    assert.deepEqual(await valuesGiven(train, ["--config", config, "--out", "b", "--seed", "7"]), {
      ...{ config, lr: 0.5, "top-k": 4, out: "b", seed: 7, json: true, quiet: true },
    });
    assert.equal(await valuesGiven(train, ["--config", config, "--lr", "x"]), null);
    assert.equal(await valuesGiven(train, ["--config", `${folder}/none.json`]), null);
  }));

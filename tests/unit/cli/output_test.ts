// SPDX-License-Identifier: Apache-2.0
/** What goes to standard output, what to standard error, and what JSON says where JavaScript has more numbers than it. */
import assert from "node:assert/strict";
import { EXIT, reportFailure } from "../../../lib/cli/failure.ts";
import { createOutput, printError, warn } from "../../../lib/cli/output.ts";
import { type CommandSpec, runCommand } from "../../../lib/cli/program.ts";
import { MachineError, NotFiniteError, UserError, ValidationError } from "../../../lib/core/errors.ts";
import { overheard } from "../../fixtures/said.ts";

/** What is written to both, when an output of these options is given everything there is. */
async function everything(options: { readonly json: boolean; readonly quiet: boolean }) {
  const { errors, results } = await overheard(() => {
    const output = createOutput(options);
    output.line("line");
    output.write("text");
    output.verbatim("said\u202e");
    output.result({ a: 1 });
    assert.equal(output.lostText(), null);
    assert.equal(output.json, options.json);
    return Promise.resolve(0);
  });
  return { errors, results };
}

Deno.test("createOutput() keeps standard output for people, or with --json for one object; --quiet leaves out the text", async () => {
  const text = ["line", "text", "said\u202e"];
  assert.deepEqual(await everything({ json: false, quiet: false }), { errors: [], results: text });
  assert.deepEqual(await everything({ json: true, quiet: false }), { errors: text, results: ['{"a":1}'] });
  assert.deepEqual(await everything({ json: false, quiet: true }), { errors: [], results: [] });
  assert.deepEqual(await everything({ json: true, quiet: true }), { errors: [], results: ['{"a":1}'] });
});

Deno.test("createOutput() writes JSON that any reader takes: null for what is no finite number, numbers for big integers", async () => {
  const value = {
    ...{ nan: NaN, infinite: Infinity, less: -Infinity, none: null, left: undefined, zero: -0, tiny: 5e-324 },
    ...{ big: 2n ** 40n, list: [NaN, undefined, 1n], "\u202e": "\x7f" },
  };
  const { results } = await overheard(() => {
    createOutput({ json: true, quiet: true }).result(value);
    return Promise.resolve(0);
  });
  assert.equal(
    results[0],
    '{"nan":null,"infinite":null,"less":null,"none":null,"zero":0,"tiny":5e-324,"big":1099511627776,' +
      '"list":[null,null,1],"\\u202e":"\\u007f"}',
  );
});

Deno.test("printError() and warn() go to standard error, a warning in one line", async () => {
  const { errors, results } = await overheard(() => {
    printError("a\nb");
    warn("c\nd");
    return Promise.resolve(0);
  });
  assert.deepEqual([errors, results], [["a\nb", "Warning: c\\nd"], []]);
});

Deno.test("reportFailure() exits with 2 for a user's mistake and with 1 for all else, and says the same as JSON", async () => {
  const cases: readonly (readonly [unknown, number, string, readonly string[] | undefined])[] = [
    [new UserError("a"), 2, "user", undefined],
    [new ValidationError("The b", ["c", "d"]), 2, "user", ["c", "d"]],
    [new MachineError("e"), 1, "machine", undefined],
    [new NotFiniteError("f"), 1, "not-finite", undefined],
    [new TypeError("g"), 1, "internal", undefined],
    ["h", 1, "internal", undefined],
  ];
  for (const [error, code, kind, problems] of cases) {
    const json = await overheard(() => Promise.resolve(reportFailure(error, true)));
    const { exitCode, error: told } = JSON.parse(json.results[0] as string);
    assert.deepEqual([json.code, exitCode, told.kind, told.problems, told.stack], [
      code,
      code,
      kind,
      problems,
      undefined,
    ]);
    assert.equal(json.errors.length, 1);
    assert.ok(json.errors[0]?.includes(told.message), json.errors[0]);
    const plain = await overheard(() => Promise.resolve(reportFailure(error, false)));
    assert.deepEqual([plain.code, plain.results, plain.errors], [code, [], json.errors]);
  }
  assert.deepEqual(EXIT, { done: 0, failed: 1, userMistake: 2, interrupted: 130 });
});

Deno.test("runCommand() gives the command's own exit code, 0 for --help, 2 for what is refused before it runs", async () => {
  let ran = 0;
  const spec: CommandSpec = {
    ...{ name: "train", summary: "s", examples: ["an example"] },
    flags: [{ name: "size", kind: "integer", help: "how large", defaultText: "7" }],
    check: ({ size }) => size === 3 ? ["three is odd"] : [],
    run: ({ size }) => {
      ran++;
      if (size === 13) throw new MachineError("no room");
      return Promise.resolve(size as number);
    },
  };
  const code = async (...args: string[]) => (await overheard(() => runCommand(spec, args))).code;
  assert.deepEqual([await code("--size", "0"), await code("--size", "1"), await code("--size=130")], [
    0,
    1,
    130,
  ]);
  assert.deepEqual([await code("--size", "13"), ran], [1, 4]);
  const refused = await overheard(() => runCommand(spec, ["--size", "3", "--sizes", "--json"]));
  assert.deepEqual([refused.code, ran], [2, 4]);
  const told = JSON.parse(refused.results[0] as string).error;
  assert.deepEqual(told.problems, ["unknown flag --sizes; did you mean --size?", "three is odd"]);
  assert.match(told.message, /^The command line of train has 2 problems:/);
});

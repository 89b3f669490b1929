// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { readConfigFile } from "../../../lib/cli/flags/sources.ts";
import { flagsOf, type FlagValues } from "../../../lib/cli/flags/flags.ts";
import { FORMAT_OPTIONS } from "../../../lib/data/data_options.ts";
import { readValue } from "../../../lib/core/option_values.ts";
import { formatOptions, formatProblems } from "../../../lib/cli/flags/format.ts";
import { withFolder } from "../../fixtures/folder.ts";

const FORMAT_FLAGS = flagsOf(FORMAT_OPTIONS);
const PAIRS = FORMAT_FLAGS.find(({ kind }) => kind === "pairs")!;

/** The object that texts give, or the problems. */
function pairs(raw: unknown): unknown {
  const problems: string[] = [];
  const value = readValue(PAIRS, "--template-option", raw, problems);
  return problems.length > 0 ? problems : value;
}

Deno.test("pairs are JSON where they are JSON, and text where they are not", () => {
  deepStrictEqual(
    pairs(["a=1", "b=true", 'c="1"', "d=x y", "e=", "f=[1,2]", "g=NaN", "h=null", "i=x=y", "j={"]),
    {
      a: 1,
      b: true,
      c: "1",
      d: "x y",
      e: "",
      f: [1, 2],
      g: "NaN",
      h: null,
      i: "x=y",
      j: "{",
    },
  );
  deepStrictEqual(pairs({ a: { b: 1 } }), { a: { b: 1 } }, "an object of a config file");
  deepStrictEqual(pairs(["a", "=1"]), [
    '--template-option is "a", expected KEY=VALUE',
    '--template-option is "=1", expected KEY=VALUE',
  ]);
  deepStrictEqual(pairs(["a=1", "a=2"]), ["--template-option gives a twice"]);
});

Deno.test("formatOptions() of no flags are the defaults, and of flags what they say", () =>
  withFolder(async (folder) => {
    deepStrictEqual(formatOptions({}), { chatTemplate: "auto", thinking: "auto", templateOptions: {} });
    const path = `${folder}/own.jinja`;
    await Deno.writeTextFile(path, "{{ messages }}");
    const values = { "chat-template": path, thinking: "on", system: "S", "template-option": { a: 1 } };
    deepStrictEqual(formatOptions(values), {
      chatTemplate: { jinja: "{{ messages }}", name: path },
      thinking: "on",
      system: "S",
      templateOptions: { a: 1 },
    });
    deepStrictEqual(formatProblems(values), []);
    const config = `${folder}/config.json`;
    await Deno.writeTextFile(config, JSON.stringify({ chatTemplate: path, templateOption: { a: [1] } }));
    const problems: string[] = [];
    const read = readConfigFile(config, FORMAT_FLAGS, problems);
    deepStrictEqual([read, problems], [{ "chat-template": path, "template-option": { a: [1] } }, []]);
  }));

Deno.test("formatProblems() says what is wrong with a template's file, and with names of variables", () =>
  withFolder(async (folder) => {
    const files: [content: string | Uint8Array, said: RegExp][] = [
      ["", /is an empty file/],
      ['{"chat_template": "{{ x }}"}', /is JSON: give a file that holds the template's text alone/],
      [Uint8Array.of(0x7b, 0xff), /not valid UTF-8 text/],
    ];
    for (const [content, said] of files) {
      const path = `${folder}/template`;
      await Deno.writeFile(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
      match(formatProblems({ "chat-template": path })[0] ?? "", said);
    }
    const problem = (values: FlagValues) => formatProblems(values).join();
    match(problem({ "chat-template": folder }), /that is a folder/);
    match(problem({ "chat-template": `${folder}/none` }), /there is no such file/);
    match(problem({ "chat-template": "atuo" }), /did you mean auto\?/);
    match(problem({ "template-option": { enable_thinking: true } }), /cannot be set: use --thinking/);
    match(problem({ "template-option": { "a b": 1 } }), /"a b" is no name that a template could read/);
    strictEqual(problem({ "template-option": { add_vision_id: true } }), "");
  }));

Deno.test("--chat-template takes no file of gigabytes", () =>
  withFolder(async (folder) => {
    const path = `${folder}/template.jinja`;
    await Deno.writeTextFile(path, "x");
    await Deno.truncate(path, 3 * 2 ** 30);
    const [problem] = formatProblems({ "chat-template": path });
    match(problem as string, /has 3221225472 bytes, more than the 1048576 that such/);
  }));

// SPDX-License-Identifier: Apache-2.0
/** Every failure of a command is one message, the right exit code, and with --json the same in one object. */
import { deepStrictEqual, doesNotMatch, match, strictEqual } from "node:assert/strict";
import { join } from "node:path";
import { failureOf } from "../../lib/cli/failure.ts";
import { MachineError, NativeError, NotFiniteError, ValidationError } from "../../lib/core/errors.ts";
import { asFileError } from "../../lib/files/errors.ts";
import { withFolder } from "../fixtures/folder.ts";
import { said } from "../fixtures/said.ts";

const MODEL = "notebooks/demo/model";
const DATA = ["--data", "notebooks/demo/facts.jsonl"];
const RUN = ["--model", MODEL, ...DATA, "--examples", "0", "--steps", "1"];

Deno.test("a command that cannot do with a path says so once, exits with 2 or 1, and prints the same as JSON", () =>
  withFolder(async (folder) => {
    const file = join(folder, "file");
    await Deno.writeTextFile(file, "hello\n");
    await Deno.writeFile(join(folder, "binary"), new Uint8Array([0xff, 0xfe]));
    await Deno.symlink(join(folder, "nowhere"), join(folder, "dangling"));
    await Deno.mkdir(join(folder, "run"));
    await Deno.writeTextFile(join(folder, "run", "run.json"), '{"settings":');
    await Deno.mkdir(join(folder, "study"));
    await Deno.writeTextFile(join(folder, "study", "results.jsonl"), '{"cell": "a"\n');
    const long = join(folder, "x".repeat(5000));
    const grid = ["--model", MODEL, ...DATA, "--steps", "1", "--seeds", "1"];
    const cases: readonly (readonly [string, readonly string[], number, RegExp])[] = [
      ["train", [...RUN, "--out", file], 2, /^Cannot make \S+\/file: .* no folder/],
      ["train", [...RUN, "--out", join(file, "x")], 2, /^Cannot make \S+\/file\/x: Not a directory/],
      ["train", [...RUN, "--out", join(folder, "dangling")], 2, /^Cannot make \S+dangling: .* no folder/],
      ["train", [...RUN, "--out", "/proc/nothing"], 2, /^Cannot make \/proc\/nothing: No such file/],
      ["train", [...RUN, "--out", join(folder, "a\0b")], 2, /a\\u0000b.*: a path holds no NUL$/],
      ["train", [...RUN, "--out", long], 2, /: File name too long/],
      ["train", [...RUN, "--watch-port", "80"], 2, /--watch-port needs --watch/],
      ["train", [...RUN, "--resume"], 2, /--resume needs --out, the run to continue/],
      ["train", [...RUN, "--out", ""], 2, /--out is "", expected text/],
      ["train", [...RUN, "--config", folder], 2, /--config: Cannot read \S+: Is a directory/],
      ["train", [...RUN, "--config", join(folder, "binary")], 2, /binary is not valid UTF-8 text/],
      ["train", [...RUN, "--config", "/proc/self/mem"], 1, /^Cannot read \/proc\/self\/mem: Input\/output/],
      ["train", [...RUN, "--chat-template", "/proc/self/mem"], 1, /^Cannot read \/proc\/self\/mem/],
      ["train", [...RUN.slice(2), "--model", file], 2, /file: Not a directory/],
      ["preview", ["--model", MODEL, "--data", "/proc/self/mem"], 1, /^Cannot read \/proc\/self\/mem/],
      ["evaluate", ["--model", MODEL, ...DATA, "--adapter", file], 2, /^Cannot read \S+: Not a directory/],
      ["merge", ["--model", MODEL, "--adapter", folder, "--out", file], 2, /Not a directory/],
      ["report", ["--run", join(folder, "run")], 2, /run\.json is not JSON/],
      ["report", ["--run", file], 2, /There is no run in/],
      ["ablate", [...grid, "--out", join(folder, "study")], 2, /results\.jsonl:1 is no result of a cell/],
      ["ablate", [...grid, "--out", file], 2, /^Cannot make \S+: Not a directory/],
    ];
    for (const [name, args, code, message] of cases) {
      const place = `${name} ${args.join(" ").slice(0, 300)}`;
      const found = await said(name, args);
      strictEqual(found.errors.length, 1, `${place}: ${found.errors.join("\n")}`);
      const [text = ""] = found.errors;
      match(text, message, place);
      doesNotMatch(text, /\n\s+at /, place);
      strictEqual(found.results.length, 1, place);
      const result = JSON.parse(found.results[0] as string);
      strictEqual(result.exitCode, code, place);
      strictEqual(found.code, code, place);
      strictEqual(result.error.message, text, place);
      strictEqual(result.error.kind, code === 2 ? "user" : "machine", place);
    }
  }));

Deno.test("failureOf() tells the user's mistakes, the machine's failures and defects apart", () => {
  deepStrictEqual(failureOf(new ValidationError("The data", ["a", "b"])).problems, ["a", "b"]);
  const kinds = [
    new ValidationError("The data", ["a"]),
    new MachineError("no room"),
    new NativeError("map_open", 4, "no such file"),
    new NotFiniteError("the loss is NaN"),
    new NativeError("linear_forward", 1, "a shape"),
    new TypeError("undefined is not a function"),
    "text",
  ].map((error) => failureOf(error).kind);
  deepStrictEqual(kinds, ["user", "machine", "machine", "not-finite", "internal", "internal", "internal"]);
  match(failureOf(new TypeError("no function")).stack ?? "", /no function\n\s+at /);
});

Deno.test("asFileError() blames the machine for what no other path mends, and names action, path and way out", () => {
  const errno = (number: number, text: string) => new Error(`${text} (os error ${number}): write 'x'`);
  const of = (number: number) => failureOf(asFileError(errno(number, "It failed"), "write", "a/b"));
  for (const number of [1, 2, 13, 17, 20, 21, 22, 30, 36, 40]) strictEqual(of(number).kind, "user");
  for (const number of [4, 5, 11, 12, 16, 23, 24, 27, 28, 110, 116, 117, 121, 122]) {
    const { kind, message } = of(number);
    strictEqual(kind, "machine", String(number));
    match(message, new RegExp(`^Cannot write a/b: .*It failed \\(os error ${number}\\)`));
  }
  const barred = new Deno.errors.NotCapable(
    'Requires all access to "/sys/x", run again with the --allow-all flag',
  );
  strictEqual(
    failureOf(asFileError(barred, "read", "/sys/x")).message,
    "Cannot read /sys/x: /proc, /sys and /dev hold no data; choose another path",
  );
  match(of(28).message, /there is no room .*; free some space and try again$/);
  match(of(24).message, /; raise the limit on open files \(ulimit -n\)$/);
});

// SPDX-License-Identifier: Apache-2.0
/** Files that are no JSONL: one error at once, and memory for one line at most. */
import assert from "node:assert/strict";
import { readLines } from "../../lib/data/lines.ts";
import { loadData } from "../../lib/data/load_data.ts";
import { withFolder } from "../fixtures/folder.ts";
import { fixtureTokenizer } from "../unit/data/fixtures.ts";

const tokenizer = await fixtureTokenizer("byte_level");
const load = (path: string) => loadData(path, tokenizer, { seqLen: 32, cache: false });

Deno.test("a line of gigabytes is one error that names file and line", () =>
  withFolder(async (folder) => {
    const path = `${folder}/rows.jsonl`;
    await Deno.writeTextFile(path, '{"text": "a"}\n');
    await Deno.truncate(path, 3 * 2 ** 30); // zeros that take no disk
    const before = Deno.memoryUsage().rss;
    await assert.rejects(load(path), {
      name: "UserError",
      message:
        `"${path}" has more than 67108864 bytes in line 2, more than any row: rows of JSONL stand in lines of their own`,
    });
    assert(Deno.memoryUsage().rss - before < 1e9);
  }));

Deno.test("readLines() counts the bytes of one line alone against the longest, which may be there", () =>
  withFolder(async (folder) => {
    const path = `${folder}/x`;
    const longest = 64 * 2 ** 20;
    const lengthsOf = async (bytes: number) => {
      await Deno.writeTextFile(path, "a\n");
      for (const end of [longest / 2, bytes]) {
        await Deno.truncate(path, (await Deno.stat(path)).size + end); // zeros that take no disk
        await Deno.writeTextFile(path, "\n", { append: true });
      }
      const lengths = [];
      for await (const { text } of readLines(path)) lengths.push(text?.length);
      return lengths;
    };
    assert.deepEqual(await lengthsOf(longest), [1, longest / 2, longest]);
    await assert.rejects(lengthsOf(longest + 2 ** 20), /has more than 67108864 bytes in line 3/);
  }));

Deno.test("text in UTF-16, bytes that are no UTF-8, zeros, pipes and devices are refused by name", () =>
  withFolder(async (folder) => {
    const path = `${folder}/rows.jsonl`;
    const refused = async (bytes: Uint8Array, message: RegExp) => {
      await Deno.writeFile(path, bytes);
      await assert.rejects(load(path), message);
    };
    await refused(
      Uint8Array.of(0xff, 0xfe, 0x7b, 0, 0x7d, 0),
      /rows\.jsonl" is UTF-16 text: save it as UTF-8/,
    );
    await refused(Uint8Array.of(0xfe, 0xff, 0, 0x7b), /is UTF-16 text/);
    await refused(Uint8Array.of(0x22, 0xc0, 0x80, 0x22), /rows\.jsonl:1: the line is not valid UTF-8/);
    await refused(new Uint8Array(1000), /rows\.jsonl:1: the line is not JSON/);
    for (const device of ["/dev/zero", "/dev/random"]) {
      await assert.rejects(load(device), {
        message: `Cannot read the data: "${device}" is a device, not a file`,
      });
    }
    await assert.rejects(load("/proc/kmsg"), /"\/proc\/kmsg" is a log of the kernel/);
    await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
    await assert.rejects(load(`${folder}/pipe`), /pipe" is a pipe, not a file/);
  }));

Deno.test("readLines() takes a byte-order mark for none of the text at the beginning, and for text elsewhere", () =>
  withFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/x`, "\ufeffa\n\ufeffb\n");
    const lines = await Array.fromAsync(readLines(`${folder}/x`));
    assert.deepEqual(lines, [{ number: 1, text: "a" }, { number: 2, text: "\ufeffb" }]);
  }));

Deno.test("a text that is too long to be tokenised is a bad row of its own", () =>
  withFolder(async (folder) => {
    const path = `${folder}/rows.jsonl`;
    const rows = ["a", "b".repeat(2_000_001), "c"].map((text) => JSON.stringify({ text: `${text} d e` }));
    await Deno.writeTextFile(path, rows.join("\n"));
    await assert.rejects(
      load(path),
      /rows\.jsonl:2: A text has 2000005 characters, at most 2000000 can be encoded/,
    );
    const data = await loadData(path, tokenizer, { seqLen: 32, cache: false, badRows: "skip" });
    assert.deepEqual([data.report.rowsUsed, data.report.badRows[0]?.category], [2, "over-long"]);
  }));

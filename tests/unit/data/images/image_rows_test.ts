// SPDX-License-Identifier: Apache-2.0
/** Rows that name pictures: of JSONL files and of folders, and what is neither. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { type ImageRow, parseImageRow, readImageRows } from "../../../../lib/data/images/image_rows.ts";
import { RowError } from "../../../../lib/data/row_error.ts";
import { withFolder } from "../../../fixtures/folder.ts";

/** Writes files of a folder by path. */
function writeFiles(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    Deno.mkdirSync(join(folder, path, ".."), { recursive: true });
    Deno.writeTextFileSync(join(folder, path), text);
  }
}

async function rowsOf(...paths: string[]) {
  const results = await Array.fromAsync(readImageRows(paths));
  return results.map((result) =>
    result.ok ? [result.row, result.place.line] : [result.bad.category, result.bad.line]
  );
}

Deno.test("readImageRows() takes paths from the data file's folder on, and names bad lines", () =>
  withFolder(async (folder) => {
    const lines = [
      { image: "a/1.png", label: "cat" },
      { file_name: "/b/2.jpg", label: 3, width: 4 },
      { image: "c.png" },
      { text: "no picture" },
      { image: 7 },
      { image: "d.png", label: 0.5 },
      ["d.png"],
    ];
    const file = join(folder, "data.jsonl");
    Deno.writeTextFileSync(file, lines.map((line) => JSON.stringify(line)).join("\n\n") + "\nnot JSON\n");
    assert.deepEqual(await rowsOf(file), [
      [{ path: join(folder, "a/1.png"), label: "cat" }, 1],
      [{ path: "/b/2.jpg", label: 3 }, 3],
      [{ path: join(folder, "c.png"), label: null }, 5],
      ["unknown shape", 7],
      ["wrong type", 9],
      ["wrong type", 11],
      ["not an object", 13],
      ["not JSON", 14],
    ]);
  }));

Deno.test("readImageRows() takes a folder's folders for classes, both by name, and passes over hidden files", () =>
  withFolder(async (folder) => {
    writeFiles(folder, {
      "dogs/2.png": "",
      "dogs/10.png": "",
      "cats/b/x.jpg": "",
      "cats/a.txt": "",
      "cats/.hidden": "",
      ".DS_Store": "",
      "zebras/.keep": "",
    });
    const row = (path: string, label: string): ImageRow => ({ path: join(folder, path), label });
    assert.deepEqual(await rowsOf(folder), [
      [row("cats/a.txt", "cats"), 1],
      [row("cats/b/x.jpg", "cats"), 2],
      [row("dogs/10.png", "dogs"), 3],
      [row("dogs/2.png", "dogs"), 4],
    ]);
  }));

Deno.test("readImageRows() reads the metadata.jsonl of a folder, as Hugging Face's image folders have it", () =>
  withFolder(async (folder) => {
    writeFiles(folder, { "a.png": "", "metadata.jsonl": '{"file_name": "a.png", "label": 1}\n' });
    assert.deepEqual(await rowsOf(folder), [[{ path: join(folder, "a.png"), label: 1 }, 1]]);
  }));

Deno.test("readImageRows() refuses what is no data, each with the way out", () =>
  withFolder(async (folder) => {
    writeFiles(folder, { "flat/a.png": "", "mixed/cats/a.png": "", "mixed/b.png": "" });
    await assert.rejects(rowsOf(), /no data file was given/);
    await assert.rejects(rowsOf(join(folder, "absent")), /absent" does not exist/);
    await assert.rejects(rowsOf(join(folder, "flat")), /has no folders; expected one for each class/);
    await assert.rejects(rowsOf(join(folder, "mixed")), /b\.png" stands beside the folders of the classes/);
    await assert.rejects(rowsOf(join(folder, "flat/a.png")), /is a picture; name a folder/);
    Deno.symlinkSync(join(folder, "mixed"), join(folder, "mixed/cats/again"));
    Deno.removeSync(join(folder, "mixed/b.png"));
    await assert.rejects(rowsOf(join(folder, "mixed")), /lies too deep, or in itself/);
  }));

Deno.test("parseImageRow() says what a row has in the place of a picture", () => {
  assert.throws(() => parseImageRow('{"text": "a", "id": 1}', "."), (error: RowError) => {
    assert.equal(error.message, 'the row has "text", "id", expected {image, label}');
    return error instanceof RowError;
  });
  assert.throws(() => parseImageRow(null, "."), /not valid UTF-8/);
});

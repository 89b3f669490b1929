// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { join } from "node:path";
import { writeFileAtomically, writeTextAtomically } from "../../../lib/files/write.ts";

const FULL_DISK = new URL("../../fixtures/full_disk.ts", import.meta.url);

Deno.test("writeFileAtomically() leaves the old file and nothing else when writing fails", async () => {
  const folder = await Deno.makeTempDir();
  const path = join(folder, "a.txt");
  await writeTextAtomically(path, "before");
  const failing = writeFileAtomically(path, 10, async (write) => {
    await write(new Uint8Array(5));
    throw new RangeError("no more");
  });
  await assert.rejects(failing, /no more/);
  assert.equal(await Deno.readTextFile(path), "before");
  await writeTextAtomically(path, "after");
  assert.equal(await Deno.readTextFile(path), "after");
  assert.deepEqual([...Deno.readDirSync(folder)].map((entry) => entry.name), ["a.txt"]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test({
  name: "writeSafetensors() on a full disk names the path and the bytes needed and leaves nothing behind",
  // The limit on file size of a POSIX shell stands for the disk: the write fails in the same place.
  ignore: Deno.build.os === "windows",
  async fn() {
    const folder = await Deno.makeTempDir();
    const path = join(folder, "big.safetensors");
    const script = `trap '' XFSZ; ulimit -f 256; exec "$0" run --no-check --quiet -A "$1" "$2"`;
    const { code, stdout, stderr } = await new Deno.Command("sh", {
      args: ["-c", script, Deno.execPath(), FULL_DISK.pathname, path],
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.equal(code, 0, text + new TextDecoder().decode(stderr));
    assert.match(
      text,
      /^MachineError: Cannot write .*big\.safetensors: it needs 40000\d\d bytes and there is no room/,
    );
    assert.deepEqual([...Deno.readDirSync(folder)], []);
    await Deno.remove(folder, { recursive: true });
  },
});

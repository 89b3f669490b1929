// SPDX-License-Identifier: Apache-2.0
/** Libraries that say of themselves what no built one does here: other versions, devices that are missing or broken. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { MEFT_ABI_MAJOR as MAJOR, MEFT_ABI_MINOR as MINOR, SYMBOLS } from "../../lib/native/symbols.ts";
import { buildInfo, openAt } from "../../lib/native/library.ts";
import { firstCommand } from "../../lib/native/tools.ts";
import { withFolder } from "../fixtures/folder.ts";

const compiler = await firstCommand(["cc", "c++", "g++", "clang++"]);
const NATIVE = new URL("../../lib/native/", import.meta.url).href;

/** All functions of the header, which do nothing, but for the version and what the library says of itself. */
function source(version: number): string {
  const others = Object.keys(SYMBOLS).map((name) => name.replace(/_async$/, ""))
    .filter((name) => !["meft_abi_version", "meft_build_info"].includes(name));
  return `#include <stdint.h>
#include <stdlib.h>
#include <string.h>
uint32_t meft_abi_version(void) { return ${version >>> 0}u; }
int64_t meft_build_info(char *out, int64_t bytes) {
  const char *info = getenv("STUB_INFO");
  int64_t needed = (int64_t)strlen(info) + 1;
  if (bytes > 0) { strncpy(out, info, (size_t)bytes - 1); out[bytes - 1] = 0; }
  return needed;
}
${[...new Set(others)].map((name) => `int ${name}(void) { return 0; }`).join("\n")}
`;
}

async function build(folder: string, version: number): Promise<string> {
  const path = join(folder, `stub_${version >>> 0}.so`);
  const text = join(folder, "stub.c");
  await Deno.writeTextFile(text, source(version));
  const args = ["-shared", "-fPIC", "-x", "c", "-o", path, text];
  const { success, stderr } = await new Deno.Command(compiler as string, { args }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return path;
}

function testWithCompiler(name: string, body: (folder: string) => Promise<void>): void {
  Deno.test({ name, ignore: compiler === null, fn: () => withFolder(body) });
}

const versionOf = (major: number, minor: number): number => major << 16 | minor;

testWithCompiler(
  "openAt() takes a library of the same major version and at least its minor one, and no other",
  async (folder) => {
    const library = openAt(await build(folder, versionOf(MAJOR, MINOR)));
    assert.deepEqual(library.abi, { major: MAJOR, minor: MINOR });
    assert.deepEqual(openAt(await build(folder, versionOf(MAJOR, MINOR + 1))).abi, {
      major: MAJOR,
      minor: MINOR + 1,
    });
    const others = [
      [MAJOR + 1, MINOR],
      [MAJOR - 1, MINOR + 1],
      ...(MINOR > 0 ? [[MAJOR, MINOR - 1]] : []),
    ] as const;
    for (const [major, minor] of others) {
      const path = await build(folder, versionOf(major!, minor!));
      assert.throws(() => openAt(path), {
        name: "UserError",
        message:
          `${path} has ABI ${major}.${minor}, expected ${MAJOR}.${MINOR} or a later ${MAJOR}.x: run \`deno task build\``,
      });
    }
    // What it says of itself may be longer than is asked for at first.
    const info = { compiler: "c".repeat(2000) };
    Deno.env.set("STUB_INFO", JSON.stringify(info));
    try {
      assert.deepEqual(buildInfo(library), info);
    } finally {
      Deno.env.delete("STUB_INFO");
    }
  },
);

const DEVICE = { text: "the driver's words", name: "card", driver: "12.2", runtime: "12.9", memoryBytes: 1 };
const PRESENCES = {
  present: null,
  "driver-missing": "no NVIDIA driver is installed: install the driver of the card",
  "driver-too-old": "the NVIDIA driver speaks CUDA 12.2 and the library needs 12.9: install a newer driver",
  "no-device": "the driver sees no CUDA device (is CUDA_VISIBLE_DEVICES set?)",
  broken: "the CUDA device does not answer: the driver's words",
} as const;

testWithCompiler(
  "cudaState() says what is missing of library, driver and device; auto means the device only when it is a real one",
  async (folder) => {
    const path = await build(folder, versionOf(MAJOR, MINOR));
    const infos = [
      ...Object.keys(PRESENCES).map((presence) => ({ backend: "cuda", device: { ...DEVICE, presence } })),
      { backend: "cuda-emulated", device: { ...DEVICE, presence: "present" } },
      { backend: "cpu" },
    ];
    const program = `
    import { cudaState, hasCudaDevice, requireCuda } from "${NATIVE}cuda.ts";
    const said = [];
    for (const info of ${JSON.stringify(infos)}) {
      Deno.env.set("STUB_INFO", JSON.stringify(info));
      const { build, problem } = cudaState();
      let required = null;
      try { requireCuda(); } catch (error) { required = error.name + ": " + error.message; }
      said.push({ backend: build.backend, problem, has: hasCudaDevice(), required });
    }
    console.log(JSON.stringify(said));`;
    const run = async (library: string, text: string) => {
      const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["eval", "--quiet", text],
        env: { MEFT_CUDA_LIBRARY: library, NO_COLOR: "1" },
      }).output();
      const output = new TextDecoder().decode(stdout);
      assert.ok(output !== "", new TextDecoder().decode(stderr));
      return JSON.parse(output);
    };
    const problems = [...Object.values(PRESENCES), null, `${path} is no CUDA library`];
    assert.deepEqual(
      await run(path, program),
      infos.map(({ backend }, i) => ({
        backend,
        problem: problems[i],
        has: i === 0,
        required: problems[i] === null
          ? null
          : `UserError: device is cuda, but ${problems[i]}; or use device cpu`,
      })),
    );
    const state = `import { cudaState } from "${NATIVE}cuda.ts"; console.log(JSON.stringify(cudaState()));`;
    assert.deepEqual(await run(join(folder, "none.so"), state), {
      build: null,
      device: null,
      problem: `there is no ${
        join(folder, "none.so")
      }: install the CUDA toolkit (nvcc), then run deno task build`,
    });
    const other = await build(folder, versionOf(MAJOR + 1, 0));
    assert.match((await run(other, state)).problem, /stub_\d+\.so has ABI/);
  },
);

// SPDX-License-Identifier: Apache-2.0
/** Runs a program against the native library in a Deno process of its own. */

/** What a child did. */
export interface ChildResult {
  readonly code: number;
  /** stdout and, when it failed, stderr. */
  readonly output: string;
}

const LIBRARY = new URL("../../lib/native/", import.meta.url).href;
const IMPORTS = `
import * as calls from "${LIBRARY}calls.ts";
import { NativeContext } from "${LIBRARY}context.ts";
import { libraryPath } from "${LIBRARY}library.ts";
import { MappedFile } from "${LIBRARY}mapped_file.ts";
import { writeNormParams, writeWeightParams } from "${LIBRARY}structs.ts";
import { SYMBOLS } from "${LIBRARY}symbols.ts";
`;

/** Runs TypeScript text that may use `calls`, `NativeContext`, `libraryPath`, `MappedFile`, `writeNormParams`, `writeWeightParams` and `SYMBOLS`. */
export async function runChild(
  program: string,
  options: {
    readonly env?: Record<string, string>;
    readonly permissions?: readonly string[];
    readonly flags?: readonly string[];
  } = {},
): Promise<ChildResult> {
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, `${IMPORTS}${program}\n`);
    const { code, signal, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-check",
        "--no-prompt",
        "--quiet",
        ...(options.flags ?? []),
        ...(options.permissions ?? ["--allow-all"]),
        path,
      ],
      env: { ...options.env, NO_COLOR: "1" },
    }).output();
    const text = new TextDecoder();
    const output = text.decode(stdout) + (code === 0 ? "" : text.decode(stderr)) + (signal ?? "");
    return { code, output };
  } finally {
    await Deno.remove(path);
  }
}

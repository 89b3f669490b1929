// SPDX-License-Identifier: Apache-2.0
/**
 * Writes what follows from `csrc/include/meft.h`, so that the two sides of the boundary cannot drift apart:
 * `lib/native/{symbols,structs,calls}.ts` and `csrc/core/abi_asserts.cpp`; and from `csrc/cpu/targets.def`:
 * `lib/native/targets.ts` and `csrc/include/meft_targets.h`. With `--check` it writes nothing and exits with 1 when a
 * file is stale.
 */
import { fileURLToPath } from "node:url";
import { denoProgram, startProgram } from "../lib/native/tools.ts";
import { type Header, type Parameter, parseHeader, type Prototype, type Struct } from "./header.ts";
import { helpIfAsked } from "./help.ts";
import { parseTargets, targetsHeader, targetsModule } from "./targets.ts";

const ROOT = new URL("../", import.meta.url);
const HEADER = "csrc/include/meft.h";
const TARGETS = "csrc/cpu/targets.def";
const BANNER = bannerOf(HEADER);

/** Deno FFI type and TypeScript type of each C type. Any other pointer is a params struct. */
const C_TYPES: Readonly<Record<string, { readonly ffi: string; readonly ts: string }>> = {
  "meft_ctx*": { ffi: "pointer", ts: "Deno.PointerValue" },
  "void*": { ffi: "buffer", ts: "ArrayBufferView" },
  "char*": { ffi: "buffer", ts: "Uint8Array" },
  "uint8_t*": { ffi: "buffer", ts: "Uint8Array" },
  "uint16_t*": { ffi: "buffer", ts: "Uint16Array" },
  "int16_t*": { ffi: "buffer", ts: "Int16Array" },
  "int32_t*": { ffi: "buffer", ts: "Int32Array" },
  "int64_t*": { ffi: "buffer", ts: "BigInt64Array" },
  "float*": { ffi: "buffer", ts: "Float32Array" },
  "double*": { ffi: "buffer", ts: "Float64Array" },
  int32_t: { ffi: "i32", ts: "number" },
  uint32_t: { ffi: "u32", ts: "number" },
  int64_t: { ffi: "i64", ts: "number | bigint" },
  float: { ffi: "f32", ts: "number" },
  double: { ffi: "f64", ts: "number" },
  meft_status: { ffi: "i32", ts: "number" },
  void: { ffi: "void", ts: "void" },
};

function typeOf(cType: string, header: Header): { readonly ffi: string; readonly ts: string } {
  const known = C_TYPES[cType];
  if (known !== undefined) return known;
  if (header.structs.some((struct) => `${struct.name}*` === cType)) {
    return { ffi: "buffer", ts: "Uint8Array" };
  }
  throw new SyntaxError(`${HEADER} uses the type ${cType}, which scripts/gen_symbols.ts does not know`);
}

function camelCase(name: string): string {
  return name.replaceAll(/_+(\w)/g, (_, letter: string) => letter.toUpperCase());
}

function pascalCase(name: string): string {
  const camel = camelCase(name);
  return camel.slice(0, 1).toUpperCase() + camel.slice(1);
}

function withoutPrefix(name: string): string {
  return name.replace(/^meft_/, "");
}

/** The table for `Deno.dlopen`, and the constants. */
function symbolsText(header: Header): string {
  const entry = (prototype: Prototype, asynchronous: boolean): string => {
    const parameters = prototype.parameters
      .map((parameter) => `"${typeOf(parameter.type, header).ffi}", // ${parameter.declaration}\n`);
    return `${prototype.name}${asynchronous ? "_async" : ""}: {\n` +
      (asynchronous ? `name: "${prototype.name}",\nnonblocking: true,\n` : "") +
      `parameters: [${parameters.length > 0 ? "\n" : ""}${parameters.join("")}],\n` +
      `result: "${typeOf(prototype.result, header).ffi}",\n},\n`;
  };
  const entries = header.prototypes
    .map((prototype) => entry(prototype, false) + (prototype.nonblocking ? entry(prototype, true) : ""));
  const constants = [...header.constants].map(([name, value]) => `export const ${name} = ${value};\n`);
  return `${BANNER}/** The symbols of libmeft, each parameter with its C declaration, and the constants of the header. */\n\n` +
    `${constants.join("")}\n/** For \`Deno.dlopen\`. */\n` +
    `export const SYMBOLS = {\n${entries.join("")}} as const satisfies Deno.ForeignLibraryInterface;\n`;
}

/** One interface and one writer for every params struct. */
function structsText(header: Header): string {
  return `${BANNER}/** Writers of the params structs: plain numbers to the bytes that C reads. */\n` +
    `import { floating, int32, int64, uint32 } from "./scalars.ts";\n` +
    header.structs.map(structText).join("");
}

function structText(struct: Struct): string {
  const short = withoutPrefix(struct.name);
  const type = `${pascalCase(short)}${short.endsWith("params") ? "" : "Params"}`;
  const fields = struct.fields.filter((field) =>
    field.name !== "struct_size" && !field.name.startsWith("reserved")
  );
  const members = fields.map((field) =>
    `readonly ${camelCase(field.name)}: ${field.type === "int64_t" ? "number | bigint" : "number"};\n`
  );
  const setters: Readonly<Record<string, readonly [string, string]>> = {
    int32_t: ["setInt32", "int32"],
    uint32_t: ["setUint32", "uint32"],
    int64_t: ["setBigInt64", "int64"],
    float: ["setFloat32", "floating"],
    double: ["setFloat64", "floating"],
  };
  const writes = fields.map((field) => {
    const [setter, check] = setters[field.type] ?? [];
    if (setter === undefined) {
      throw new SyntaxError(`${struct.name}.${field.name}: no writer for ${field.type}`);
    }
    const name = camelCase(field.name);
    return `view.${setter}(${field.offset}, ${check}("${name}", params.${name}), true);\n`;
  });
  return `\n/** Fields of \`${struct.name}\`. */\nexport interface ${type} {\n${members.join("")}}\n\n` +
    `/** The ${struct.bytes} bytes of a \`${struct.name}\`. @throws {RangeError} When an integer does not fit */\n` +
    `export function write${type}(params: ${type}): Uint8Array<ArrayBuffer> {\n` +
    `const view = new DataView(new ArrayBuffer(${struct.bytes}));\nview.setUint32(0, ${struct.bytes}, true);\n` +
    `${writes.join("")}return new Uint8Array(view.buffer);\n}\n`;
}

/** One typed function for every call that has a context and a status. */
function callsText(header: Header): string {
  const calls = header.prototypes.filter((prototype) =>
    prototype.result === "meft_status" && prototype.parameters[0]?.type === "meft_ctx*"
  );
  return `${BANNER}/** Typed calls: plain numbers in, an error thrown for every status but OK. */\n` +
    `import type { NativeContext } from "./context.ts";\nimport { int32, int64, uint32 } from "./scalars.ts";\n` +
    calls.map((prototype) =>
      callText(prototype, header, false) + (prototype.nonblocking ? callText(prototype, header, true) : "")
    ).join("");
}

function callText(prototype: Prototype, header: Header, asynchronous: boolean): string {
  const op = withoutPrefix(prototype.name);
  const rest = prototype.parameters.slice(1);
  const declared = rest.map((parameter) => {
    const { ffi, ts } = typeOf(parameter.type, header);
    return `${camelCase(parameter.name)}: ${ts}${ffi === "buffer" ? " | null" : ""}`;
  });
  const symbol = `${prototype.name}${asynchronous ? "_async" : ""}`;
  const passed = ["lane.pointer", ...rest.map((parameter) => argumentText(parameter, header))];
  const call = `lane.symbols.${symbol}(${passed.join(", ")})`;
  const note = asynchronous
    ? `\`${prototype.name}\` on another thread; settles when it is done.`
    : `\`${prototype.name}\`.`;
  return `\n/** ${note} */\nexport function ${camelCase(op)}${asynchronous ? "Async" : ""}(` +
    `lane: NativeContext, ${declared.join(", ")}): ${asynchronous ? "Promise<void>" : "void"} {\n` +
    (asynchronous ? `return lane.settle("${op}", () => ${call});\n` : `lane.check("${op}", ${call});\n`) +
    "}\n";
}

function argumentText(parameter: Parameter, header: Header): string {
  const name = camelCase(parameter.name);
  const { ffi } = typeOf(parameter.type, header);
  if (ffi === "i64") return `int64("${name}", ${name})`;
  if (ffi === "i32") return `int32("${name}", ${name})`;
  if (ffi === "u32") return `uint32("${name}", ${name})`;
  return name;
}

/** Fails the build when the compiler lays a struct out differently from the writers. */
function assertsText(header: Header): string {
  const checks = header.structs.map((struct) =>
    `static_assert(sizeof(${struct.name}) == ${struct.bytes} && alignof(${struct.name}) <= 8, "${struct.name}");\n` +
    struct.fields.map((field) =>
      `static_assert(offsetof(${struct.name}, ${field.name}) == ${field.offset} && ` +
      `sizeof(${struct.name}::${field.name}) == ${field.bytes}, "${field.name}");\n`
    ).join("")
  );
  return `${BANNER}// The layout that lib/native/structs.ts writes.\n#include <cstddef>\n\n#include "meft.h"\n\n` +
    checks.join("\n");
}

async function formatted(text: string): Promise<string> {
  const child = startProgram(denoProgram(), {
    args: ["fmt", "--config", fileURLToPath(new URL("deno.json", ROOT)), "--ext", "ts", "-"],
    stdin: "piped",
    stdout: "piped",
  });
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(text));
  await writer.close();
  const { success, stdout } = await child.output();
  if (!success) throw new Error("deno fmt refused the generated text");
  return new TextDecoder().decode(stdout);
}

function bannerOf(source: string): string {
  return "// SPDX-License-Identifier: Apache-2.0\n" +
    `// Generated by scripts/gen_symbols.ts from ${source}: do not edit, run \`deno task symbols\`.\n`;
}

/** The generated files, by path from the root. */
async function generate(): Promise<Map<string, string>> {
  const header = parseHeader(await Deno.readTextFile(new URL(HEADER, ROOT)));
  const targets = parseTargets(await Deno.readTextFile(new URL(TARGETS, ROOT)));
  return new Map([
    ["lib/native/symbols.ts", await formatted(symbolsText(header))],
    ["lib/native/structs.ts", await formatted(structsText(header))],
    ["lib/native/calls.ts", await formatted(callsText(header))],
    ["csrc/core/abi_asserts.cpp", assertsText(header)],
    ["lib/native/targets.ts", await formatted(bannerOf(TARGETS) + targetsModule(targets))],
    [
      "csrc/include/meft_targets.h",
      bannerOf(TARGETS).replaceAll(/^\/\/ (.*)$/gm, "/* $1 */") + targetsHeader(targets),
    ],
  ]);
}

/** Paths whose text on disk is not what the header and the list of targets give. */
export async function staleFiles(): Promise<string[]> {
  const files = await generate();
  const stale: string[] = [];
  for (const [path, text] of files) {
    const present = await Deno.readTextFile(new URL(path, ROOT)).catch(() => "");
    if (present !== text) stale.push(path);
  }
  return stale;
}

async function main(): Promise<number> {
  if (Deno.args.includes("--check")) {
    const stale = await staleFiles();
    for (const path of stale) console.error(`${path} is stale: run \`deno task symbols\``);
    return stale.length > 0 ? 1 : 0;
  }
  const files = await generate();
  for (const [path, text] of files) await Deno.writeTextFile(new URL(path, ROOT), text);
  return 0;
}

if (import.meta.main) {
  helpIfAsked("symbols");
  Deno.exit(await main());
}

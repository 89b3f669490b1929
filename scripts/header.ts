// SPDX-License-Identifier: Apache-2.0
/** Reads the C header: prototypes, params structs and integer constants, and nothing else of C. */

/** One parameter of a function, as declared. */
export interface Parameter {
  readonly name: string;
  /** Declaration as written, for comments. */
  readonly declaration: string;
  /** C type without const and spaces: `float*`, `int64_t`. */
  readonly type: string;
}

/** One exported function. */
export interface Prototype {
  readonly name: string;
  readonly result: string;
  readonly parameters: readonly Parameter[];
  /** Its comment says `@nonblocking`: it takes long enough to be worth another thread. */
  readonly nonblocking: boolean;
}

/** One field of a struct with its place in memory. */
export interface Field {
  readonly name: string;
  readonly type: string;
  readonly offset: number;
  readonly bytes: number;
}

/** A params struct. Padding is explicit, so that fields cover every byte. */
export interface Struct {
  readonly name: string;
  readonly bytes: number;
  readonly fields: readonly Field[];
}

/** What the header declares. */
export interface Header {
  readonly constants: ReadonlyMap<string, number>;
  readonly structs: readonly Struct[];
  readonly prototypes: readonly Prototype[];
}

const FIELD_BYTES: Readonly<Record<string, number>> = {
  uint32_t: 4,
  int32_t: 4,
  float: 4,
  int64_t: 8,
  double: 8,
};

/**
 * Parses the text of `meft.h`.
 *
 * @throws {SyntaxError} When a declaration is of a kind that this reader does not know, naming it
 */
export function parseHeader(text: string): Header {
  return { constants: parseConstants(text), structs: parseStructs(text), prototypes: parsePrototypes(text) };
}

function parseConstants(text: string): Map<string, number> {
  const constants = new Map<string, number>();
  for (const [, name, value] of text.matchAll(/^#define (MEFT_\w+) (\d+)$/gm)) {
    constants.set(name as string, Number(value));
  }
  return constants;
}

function parseStructs(text: string): Struct[] {
  const structs: Struct[] = [];
  for (const [, name, body] of text.matchAll(/typedef struct (\w+) \{([^}]*)\} \1;/g)) {
    structs.push(layOut(name as string, withoutComments(body as string)));
  }
  return structs;
}

/** Places fields as the C compiler does, and refuses what would make it insert padding of its own. */
function layOut(name: string, body: string): Struct {
  const fields: Field[] = [];
  let offset = 0;
  for (const declaration of body.split(";").map((part) => part.trim()).filter((part) => part !== "")) {
    const [, type, field] = declaration.match(/^(\w+) (\w+)$/) ?? [];
    const bytes = FIELD_BYTES[type ?? ""];
    if (type === undefined || field === undefined || bytes === undefined) {
      throw new SyntaxError(`Cannot read field "${declaration}" of ${name}`);
    }
    if (offset % bytes !== 0) {
      throw new SyntaxError(`Field ${field} of ${name} needs explicit padding before it`);
    }
    fields.push({ name: field, type, offset, bytes });
    offset += bytes;
  }
  if (fields[0]?.name !== "struct_size") throw new SyntaxError(`${name} does not begin with struct_size`);
  if (offset % 8 !== 0) throw new SyntaxError(`${name} has ${offset} bytes, expected a multiple of 8`);
  return { name, bytes: offset, fields };
}

function parsePrototypes(text: string): Prototype[] {
  const prototypes: Prototype[] = [];
  // A comment, if one stands right before the declaration, then the declaration up to its semicolon.
  const pattern = /(\/\*(?:(?!\*\/)[^])*\*\/\s*)?^MEFT_API\s+([^;(]+?)(\w+)\(([^;]*)\);/gm;
  for (const [, comment, result, name, list] of text.matchAll(pattern)) {
    prototypes.push({
      name: name as string,
      result: plainType(result as string),
      parameters: parseParameters(name as string, list as string),
      nonblocking: (comment ?? "").includes("@nonblocking"),
    });
  }
  const declared = withoutComments(text).match(/^MEFT_API/gm)?.length ?? 0;
  if (prototypes.length !== declared) {
    throw new SyntaxError(`Read ${prototypes.length} of ${declared} MEFT_API declarations`);
  }
  return prototypes;
}

function parseParameters(owner: string, list: string): Parameter[] {
  if (list.trim() === "void") return [];
  return list.split(",").map((part) => {
    const declaration = part.trim().replaceAll(/\s+/g, " ");
    const [, type, name] = declaration.match(/^(.*?[\s*])(\w+)$/) ?? [];
    if (type === undefined || name === undefined) {
      throw new SyntaxError(`Cannot read parameter "${declaration}" of ${owner}`);
    }
    return { name, declaration, type: plainType(type) };
  });
}

function plainType(type: string): string {
  return type.replaceAll(/\bconst\b/g, "").replaceAll(/\s+/g, "");
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[^]*?\*\//g, "");
}

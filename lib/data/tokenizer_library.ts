// SPDX-License-Identifier: Apache-2.0
/**
 * Hugging Face's own tokenizers, the Rust library that transformers runs on, as its makers publish it for Node.
 *
 * It was chosen over their JavaScript port (`@huggingface/tokenizers`), which gives other ids where the two languages
 * differ: what is a digit (½ ² Ⅷ), white space (U+FEFF, U+0085), a word, or a lower-case sigma. It also takes less than
 * half the time, works on all cores, and says where in the text a token stands. Its price is a binary a platform, all in
 * the one package (Linux, macOS and Windows on x86-64 and Arm), which needs `--allow-ffi` and `--allow-read`.
 */
import type { Encoding as NativeEncoding, Tokenizer as NativeTokenizer } from "tokenizers";
import { MachineError, UserError } from "../core/errors.ts";
import { openToReadSync } from "../files/read.ts";
import { requireRoom } from "../native/host_memory.ts";
import type { TokenSpec } from "./special_tokens.ts";

/** The version that deno.json names. */
export const LIBRARY_VERSION = "0.23.2";

/** The tokens of one text. */
export interface Encoding {
  /** (n) token ids. */
  readonly ids: Int32Array;
  /**
   * (n) UTF-16 offset in the text where the token's characters begin, ascending. Several tokens of one character all have its
   * place; what a normalizer puts in belongs to the character beside it, and one it takes out to no token.
   */
  readonly starts: Int32Array;
  /** (n) and where they end. */
  readonly ends: Int32Array;
}

/** What the library takes for a byte of `tokenizer.json` while it reads it, measured: 37 with 150,000 tokens. */
const BYTES_PER_BYTE = 40;

/** A tokenizer of the library that puts nothing around a text, cuts nothing and pads nothing. */
export interface LibraryTokenizer {
  /** Adds tokens: one that the vocabulary has keeps its id, the others get the ids after the last. @mutates this */
  add(tokens: readonly TokenSpec[]): void;
  /** A text as the tokenizer normalizes it. */
  normalize(text: string): string;
  /** Encodes texts on all cores; calls of one moment are one call to the library. */
  encodeBatch(texts: readonly string[]): Promise<Encoding[]>;
  /** Ids alone, which is cheaper. */
  encode(text: string): Promise<number[]>;
  /** The text of tokens by their names. */
  decode(tokens: readonly string[]): string;
  /** The id of a token, added ones first. */
  idOf(token: string): number | null;
  /** The name of a token, added ones first. @param id An integer from 0 to 2^32-1 */
  nameOf(id: number): string | null;
}

/**
 * Makes a tokenizer of the text of a `tokenizer.json`.
 *
 * @param source The folder it is from, for messages
 * @param longest Characters that a text may have
 * @throws {UserError} When the library cannot be loaded here, or cannot use the file
 * @throws {MachineError} When there is too little memory for it
 */
export async function openLibraryTokenizer(
  json: string,
  source: string,
  longest: number,
): Promise<LibraryTokenizer> {
  const library = await loadLibrary();
  requireRoom(`the tokenizer of "${source}"`, BYTES_PER_BYTE * json.length);
  let native: NativeTokenizer;
  try {
    native = library.Tokenizer.fromString(json);
  } catch (error) {
    throw new UserError(`tokenizer.json of "${source}" cannot be used: ${messageOf(error)}`, {
      cause: error,
    });
  }
  native.disableTruncation();
  native.disablePadding();
  // A post-processor would put tokens around the text and cut white space off the offsets.
  native.setPostProcessor(library.templateProcessing("$A", "$A $B", []));
  return wrap(library, native, source, longest);
}

type Library = typeof import("tokenizers");

/** Loaded when first needed, so that a platform without a binary still has everything else. */
async function loadLibrary(): Promise<Library> {
  try {
    return await import("tokenizers");
  } catch (error) {
    requireOpenFiles();
    throw new UserError(libraryProblem(error), { cause: error });
  }
}

/** @throws {MachineError} When the process can open no file any more, which the loader of modules does not say */
function requireOpenFiles(): void {
  try {
    openToReadSync("/dev/null").close();
  } catch (error) {
    if (error instanceof MachineError) throw error;
  }
}

/** Why the library could not be loaded, and the way out; the package tells its reasons in a chain of causes. */
export function libraryProblem(error: unknown): string {
  const reasons: string[] = [];
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    const denied = /Requires (\w+) access/.exec(at.message);
    if (denied) return `The tokenizers library may not be loaded; run again with --allow-${denied[1]}`;
    reasons.push(at.message.split("\n")[0] as string);
  }
  const { os, arch } = Deno.build;
  return `The tokenizers library (npm:tokenizers) cannot be loaded on ${os} ${arch}: ${
    reasons.at(-1) ?? error
  }; it has ` +
    `binaries for Linux, macOS and Windows on x86_64 and aarch64, and takes a build of your own from ` +
    `NAPI_RS_NATIVE_LIBRARY_PATH`;
}

function wrap(
  library: Library,
  native: NativeTokenizer,
  source: string,
  longest: number,
): LibraryTokenizer {
  const bare = { addSpecialTokens: false };
  const [decoder, normalizer] = [native.getDecoder(), native.getNormalizer()];
  const failure = (error: unknown): UserError =>
    new UserError(`The tokenizer of "${source}" cannot be used: ${messageOf(error)}`, { cause: error });
  const encodeJointly = joinCalls(async (texts) => {
    const encodings = await native.encodeBatch([...texts], bare).catch((error) => {
      throw failure(error);
    });
    return encodings.map((encoding, i) => convertEncoding(encoding, texts[i] as string));
  });
  return {
    add(tokens) {
      native.addAddedTokens(
        tokens.map(({ content, special, singleWord, lstrip, rstrip, normalized }) =>
          new library.AddedToken(content, special, {
            singleWord,
            leftStrip: lstrip,
            rightStrip: rstrip,
            normalized,
          })
        ),
      );
    },
    normalize: (text) => normalizer?.normalizeString(text) ?? text,
    async encodeBatch(texts) {
      for (const text of texts) checkText(text, longest); // before texts of other calls join them
      return await encodeJointly(texts);
    },
    async encode(text) {
      checkText(text, longest);
      const encoding = await native.encode(text, null, bare).catch((error) => {
        throw failure(error);
      });
      return encoding.getIds();
    },
    decode(tokens) {
      if (decoder === null) return tokens.join(" ");
      try {
        return decoder.decode([...tokens]);
      } catch (error) {
        throw failure(error);
      }
    },
    idOf: (token) => native.tokenToId(token),
    nameOf: (id) => native.idToToken(id),
  };
}

/**
 * White space in one run: expressions such as `\s+(?!\S)` go back over it, and the library ends the process at ten million
 * steps back.
 */
const LONGEST_RUN = 1_000_000;

/** A text that is too long for the library: an error of the text, not of the tokenizer. */
export class LongTextError extends UserError {
  override readonly name = "LongTextError";
}

function checkText(text: string, longest: number): void {
  if (text.length > longest) {
    throw new LongTextError(
      `A text has ${text.length} characters, at most ${longest} can be encoded at once; cut it into several`,
    );
  }
  if (text.length <= LONGEST_RUN) return;
  for (const [run] of text.matchAll(/\s+/g)) {
    if (run.length <= LONGEST_RUN) continue;
    throw new LongTextError(
      `A text has ${run.length} characters of white space in a row, at most ${LONGEST_RUN} can be encoded; cut them out`,
    );
  }
}

type EncodeBatch = LibraryTokenizer["encodeBatch"];

/** Makes one call of all that come before control returns to the event loop: the library's threads are worth a large one. */
function joinCalls(encodeBatch: EncodeBatch): EncodeBatch {
  let texts: string[] = [];
  let joint: Promise<Encoding[]> | null = null;
  return async (own) => {
    const start = texts.length;
    texts.push(...own);
    joint ??= Promise.resolve().then(() => {
      const all = texts;
      [texts, joint] = [[], null];
      return encodeBatch(all);
    });
    return (await joint).slice(start, start + own.length);
  };
}

/** The library counts code points; strings here, UTF-16 units. */
function convertEncoding(encoding: NativeEncoding, text: string): Encoding {
  const ids = Int32Array.from(encoding.getIds());
  const offsets = encoding.getOffsets();
  const units = unitOffsets(text);
  const [starts, ends] = [new Int32Array(ids.length), new Int32Array(ids.length)];
  for (let i = 0; i < ids.length; i++) {
    const [start, end] = offsets[i] as [number, number];
    starts[i] = units === null ? start : units[start] as number;
    ends[i] = units === null ? end : units[end] as number;
  }
  return { ids, starts, ends };
}

/** (code points + 1) the UTF-16 offset of each code point; null where both counts are the same. */
function unitOffsets(text: string): Int32Array | null {
  if (!/[\ud800-\udbff][\udc00-\udfff]/.test(text)) return null;
  const units = new Int32Array(text.length + 1);
  let points = 0;
  for (let unit = 0; unit < text.length; points++) {
    units[points] = unit;
    unit += (text.codePointAt(unit) as number) > 0xffff ? 2 : 1;
  }
  units[points] = text.length;
  return units;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

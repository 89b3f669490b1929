// SPDX-License-Identifier: Apache-2.0
/**
 * PNG, JPEG and WebP into pixels, by jSquash: image-rs' `png`, Mozilla's libjpeg and libwebp, compiled to WebAssembly, so that nothing native
 * is loaded and no permission but reading their own files is asked for.
 *
 * They were chosen by their pixels. Of JPEGs with every subsampling, grey and progressive ones, jSquash's are Pillow's to the
 * bit, as both are libjpeg's (and libwebp's); `jpeg-js` is off by up to 29 levels of 255, as it does not interpolate colour. `sharp` is a native
 * library with more of them behind it. `fast-png` inflates whatever a file holds, 300 MB out of 300 kB, and `pngjs` what an
 * interlaced one holds; image-rs' decoder writes only the pixels of the header, at a third of their time.
 */
import { readBytesSync } from "../../files/read.ts";
import type { ImageFormat } from "./header.ts";
import { ImageError } from "./image.ts";

/** Pixels with opacity: (height,width,4) of 8 bits. */
export interface RgbaImage {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8ClampedArray;
}

/** Bytes of an image file into pixels. @throws {ImageError} When they are damaged */
export type Decoder = (bytes: Uint8Array) => RgbaImage;

/** What opens each format's decoder. */
const CODECS: Readonly<Record<ImageFormat, () => Promise<Decoder>>> = {
  PNG: openPng,
  JPEG: openJpeg,
  WebP: openWebp,
};

/** Decoders that were opened: each is some 200 kB of code, compiled once. */
const opened = new Map<ImageFormat, Promise<Decoder>>();

/** The decoder of a format. */
export function decoderOf(format: ImageFormat): Promise<Decoder> {
  const decoder = opened.get(format) ?? CODECS[format]();
  opened.set(format, decoder);
  return decoder;
}

async function openPng(): Promise<Decoder> {
  const { decode, initSync } = await import("@jsquash/png/codec/pkg/squoosh_png.js");
  initSync(moduleAt("@jsquash/png/codec/pkg/squoosh_png_bg.wasm"));
  return (bytes) => {
    try {
      return decode(bytes) as RgbaImage; // of its types it gives 8 bits alone
    } catch (error) {
      throw new ImageError("its data is damaged", { cause: error });
    }
  };
}

/** A decoder that Emscripten compiled. */
interface EmscriptenCodec {
  decode(bytes: Uint8Array, ...options: readonly unknown[]): RgbaImage | null;
}

/** How such a one is opened; its own types are not reachable from outside. */
type OpenCodec = (options: {
  readonly noInitialRun: boolean;
  readonly instantiateWasm: (
    imports: WebAssembly.Imports,
    done: (instance: WebAssembly.Instance) => void,
  ) => WebAssembly.Exports;
  readonly printErr: (line: string) => void;
}) => Promise<EmscriptenCodec>;

/** @param specifier Of its WebAssembly     @param said What it says of a picture is added */
function openCodec(open: unknown, specifier: string, said: string[]): Promise<EmscriptenCodec> {
  const module = moduleAt(specifier);
  return (open as OpenCodec)({
    noInitialRun: true,
    instantiateWasm(imports, done) {
      const instance = new WebAssembly.Instance(module, imports);
      done(instance);
      return instance.exports;
    },
    printErr: (line) => said.push(line),
  });
}

/** What libjpeg says when pixels are missing: it would go on with grey ones. */
const LOST_PIXELS = /premature end|bad huffman code/i;

async function openJpeg(): Promise<Decoder> {
  const { default: open } = await import("@jsquash/jpeg/codec/dec/mozjpeg_dec.js");
  const said: string[] = [];
  const codec = await openCodec(open, "@jsquash/jpeg/codec/dec/mozjpeg_dec.wasm", said);
  return (bytes) => {
    said.length = 0;
    const decoded = decodedBy(codec, bytes, false); // turning it is done for all formats alike
    if (decoded === null || said.some((line) => LOST_PIXELS.test(line))) {
      throw new ImageError(
        `its data is damaged${said.length > 0 ? `: libjpeg says "${said.join("; ")}"` : ""}`,
      );
    }
    return decoded;
  };
}

async function openWebp(): Promise<Decoder> {
  const { default: open } = await import("@jsquash/webp/codec/dec/webp_dec.js");
  const codec = await openCodec(open, "@jsquash/webp/codec/dec/webp_dec.wasm", []);
  return (bytes) => {
    const decoded = decodedBy(codec, bytes);
    if (decoded === null) throw new ImageError("its data is damaged");
    return decoded;
  };
}

/** Null where it cannot be decoded. */
function decodedBy(
  codec: EmscriptenCodec,
  bytes: Uint8Array,
  ...options: readonly unknown[]
): RgbaImage | null {
  try {
    return codec.decode(bytes, ...options);
  } catch {
    return null; // an exception of C++, without words
  }
}

/** A WebAssembly module of a package. */
function moduleAt(specifier: string): WebAssembly.Module {
  const path = decodeURIComponent(new URL(import.meta.resolve(specifier)).pathname);
  return new WebAssembly.Module(readBytesSync(path) as Uint8Array<ArrayBuffer>);
}

// SPDX-License-Identifier: Apache-2.0
/**
 * What open pages are sent as server-sent events: the newest body to each as soon as its reader takes it, and none of those that
 * came before. A reader that is slow or has stopped costs one body at most, however often the page is renewed.
 */

/** Pages that can be open at once. */
export const MAX_STREAMS = 32;

/** Streams of one page. Disposing it stops the pings. */
export interface PageStreams extends Disposable {
  /** Body of the page as it is now. */
  readonly body: string;
  /** Streams whose readers have not left. */
  readonly open: number;
  /** A stream for one more reader. */
  add(): ReadableStream<Uint8Array>;
  /** Has every reader get this body next. */
  show(body: string): void;
  /** Has every reader get the body as it is, if it has not, then the end. */
  end(): void;
}

/** Choices of {@linkcode createPageStreams}. */
export interface PageStreamOptions {
  /** Milliseconds between pings, by which a reader that has gone without a word is found. Default 15 s. */
  readonly pingMs?: number;
  /** Milliseconds after which a reader that takes nothing is let go: it may connect anew. Default 2 min. */
  readonly stalledMs?: number;
}

/** A reader. */
interface Reader {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  /** Number of the body that it was given last. */
  given: number;
  /** Goes on, with a ping or with what is new: set while the reader waits. */
  wake: ((next: "ping" | "news") => void) | null;
  /** Moment in which it asked last. */
  askedMs: number;
}

/** Streams of a page whose first body is `body`. */
export function createPageStreams(
  body: string,
  { pingMs = 15_000, stalledMs = 120_000 }: PageStreamOptions = {},
): PageStreams {
  const readers = new Set<Reader>();
  let [shown, number, ended] = [body, 1, false];
  let encoded: Uint8Array | null = null; // one for all readers
  const wakeAll = () => readers.forEach((reader) => reader.wake?.("news"));

  const give = (reader: Reader): void => {
    if (reader.given < number) {
      reader.given = number;
      reader.controller.enqueue(encoded ??= event("body", shown));
    } else if (ended) {
      reader.controller.enqueue(event("end", ""));
      reader.controller.close();
      readers.delete(reader);
    }
  };
  const ping = setInterval(() => {
    for (const reader of readers) {
      if (reader.wake !== null) reader.wake("ping");
      else if (performance.now() - reader.askedMs > stalledMs) {
        readers.delete(reader);
        reader.controller.error(new Error("The reader takes nothing"));
      }
    }
  }, pingMs);

  return {
    get body() {
      return shown;
    },
    get open() {
      return readers.size;
    },
    add() {
      let reader: Reader;
      return new ReadableStream<Uint8Array>({
        start(controller) {
          reader = { controller, given: 0, wake: null, askedMs: performance.now() };
          readers.add(reader);
        },
        async pull() {
          reader.askedMs = performance.now();
          if (reader.given === number && !ended) {
            const { promise, resolve } = Promise.withResolvers<"ping" | "news">();
            reader.wake = resolve;
            const next = await promise;
            reader.wake = null;
            if (!readers.has(reader)) return;
            if (next === "ping") return reader.controller.enqueue(PING);
          }
          give(reader);
        },
        cancel() {
          readers.delete(reader);
          reader.wake?.("news");
        },
      }, { highWaterMark: 0 });
    },
    show(next) {
      [shown, number, encoded] = [next, number + 1, null];
      wakeAll();
    },
    end() {
      ended = true;
      wakeAll();
    },
    [Symbol.dispose]() {
      clearInterval(ping);
      readers.clear();
    },
  };
}

const encoder = new TextEncoder();
const PING = encoder.encode(": ping\n\n");

/** A server-sent event; JSON keeps it on one line. */
function event(name: string, data: string): Uint8Array {
  return encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

// SPDX-License-Identifier: Apache-2.0
/** Serves one report page to whoever has its address, on this machine alone, and sends open pages what is new. */
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
import { UserError } from "../core/errors.ts";
import { wrapBody } from "./html_page.ts";
import { createPageStreams, MAX_STREAMS } from "./page_streams.ts";

/** A page being served. */
export interface PageServer {
  /** Has a token that cannot be guessed: other users and programs of this machine find nothing. */
  readonly url: string;
  /** Pages that are open, and so get what is new. */
  readonly openPages: number;
  /** Shows this body from now on, also in pages that are open. */
  show(body: string): void;
  /** Tells open pages that no more will come, and stops: they keep what they show. */
  end(): Promise<void>;
}

/** Only programs of this machine can connect here, whatever its network. */
const LOOPBACK = "127.0.0.1";
const WAITING = "<header><h1>No step has ended yet</h1></header>";
const COMMON_HEADERS = {
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
};
const PAGE_HEADERS = { ...COMMON_HEADERS, "content-type": "text/html; charset=utf-8" };
const EVENT_HEADERS = { ...COMMON_HEADERS, "content-type": "text/event-stream" };
const TOKEN_BYTES = 24;
/** Pages on their way to clients at once: each is held until its reader has it. */
const MAX_PAGES = 32;
/** A reader that takes nothing does not keep the run from ending. */
const END_MS = 2000;

/**
 * @param port 0 for any that is free
 * @throws {UserError} When the port cannot be had
 */
export function startPageServer(title: string, port: number): PageServer {
  const token = Buffer.from(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES))).toString("base64url");
  const root = `/${token}/`;
  const streams = createPageStreams(WAITING);
  const stopping = new AbortController();
  let ending = false;
  const pages = new Set<Promise<void>>();
  const answers = new Set<Promise<void>>();
  const keepIn = (set: Set<Promise<void>>, completed: Promise<void>) => {
    const gone = completed.catch(() => {}).finally(() => set.delete(gone));
    set.add(gone);
  };
  const server = listen(port, stopping.signal, (request, { completed }) => {
    const refused = refusalOf(request, server.addr.port, root);
    if (refused !== null) return refused;
    if (ending) return refusal(503, "The run has ended");
    if (streams.open >= MAX_STREAMS || pages.size >= MAX_PAGES) {
      const text = `${MAX_STREAMS} pages watch this run already: close one and load this one again`;
      return refusal(503, text, { "retry-after": "5" });
    }
    keepIn(answers, completed);
    if (new URL(request.url).pathname !== root) {
      return new Response(streams.add(), { headers: EVENT_HEADERS });
    }
    keepIn(pages, completed);
    return new Response(wrapBody(title, streams.body, true), { headers: PAGE_HEADERS });
  });
  return {
    url: `http://${LOOPBACK}:${server.addr.port}${root}`,
    get openPages() {
      return streams.open;
    },
    show: (body) => streams.show(body),
    async end() {
      ending = true;
      streams.end();
      const all = await endsWithin(END_MS, Promise.all(answers));
      if (!all) stopping.abort();
      await (all ? server.shutdown() : server.finished);
      streams[Symbol.dispose]();
    },
  };
}

/** Null for a request of the page below `root` or of its stream. */
function refusalOf({ url, method }: Request, port: number, root: string): Response | null {
  const { host, pathname } = new URL(url);
  // A page elsewhere could resolve its own name to this address: it would still name itself here.
  const names = [LOOPBACK, "localhost"].map((name) => `${name}:${port}`);
  if (!names.includes(host)) return refusal(403, "This server answers to its own address alone");
  if (!sameText(pathname, root) && !sameText(pathname, `${root}events`)) {
    return refusal(404, "There is nothing here: the page's address is the whole one that was printed");
  }
  return method === "GET" ? null : refusal(405, "This page can only be read", { allow: "GET" });
}

/** Takes as long whatever is guessed. */
function sameText(given: string, expected: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(given), digest(expected));
}

async function endsWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), ms);
  const ended = await Promise.race([work.then(() => true), late]);
  clearTimeout(timer);
  return ended;
}

function refusal(status: number, text: string, headers: Record<string, string> = {}): Response {
  return new Response(`${text}\n`, { status, headers: { ...COMMON_HEADERS, ...headers } });
}

function listen(
  port: number,
  signal: AbortSignal,
  handler: (request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>) => Response,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname: LOOPBACK, port, signal, onListen: () => {} }, handler);
  } catch (error) {
    throw new UserError(
      `Port ${port} of ${LOOPBACK} cannot be had (${
        (error as Error).message
      }): choose another --watch-port, or 0 for ` +
        `any that is free`,
    );
  }
}

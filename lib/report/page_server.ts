// SPDX-License-Identifier: Apache-2.0
/** Serves one report page to this machine alone, and sends open pages what is new. */
import { UserError } from "../core/errors.ts";
import { wrapBody } from "./html_page.ts";

/** A page being served. */
export interface PageServer {
  readonly url: string;
  /** Shows this body from now on, also in pages that are open. */
  show(body: string): void;
  /** Tells open pages that no more will come, and stops: they keep what they show. */
  end(): Promise<void>;
}

/** Only programs of this machine can connect here, whatever its network. */
const LOOPBACK = "127.0.0.1";
const WAITING = "<header><h1>No step has ended yet</h1></header>";
const PAGE_HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
};
const EVENT_HEADERS = { "content-type": "text/event-stream", "cache-control": "no-store" };

type Stream = ReadableStreamDefaultController<Uint8Array>;

/**
 * @param port 0 for any that is free
 * @throws {UserError} When the port cannot be had
 */
export function startPageServer(title: string, port: number): PageServer {
  const streams = new Set<Stream>();
  let body = WAITING;
  const eventStream = () => {
    let stream: Stream;
    return new ReadableStream<Uint8Array>({
      start(controller) {
        stream = controller;
        streams.add(stream);
        stream.enqueue(event("body", body));
      },
      cancel: () => {
        streams.delete(stream);
      },
    });
  };
  const server = listen(port, (request) => {
    const { host, pathname } = new URL(request.url);
    // A page elsewhere could resolve its own name to this address: it would still name itself here.
    const names = [LOOPBACK, "localhost"].map((name) => `${name}:${server.addr.port}`);
    if (!names.includes(host)) {
      return new Response("This server answers to its own address alone\n", { status: 403 });
    }
    if (request.method !== "GET") return new Response(null, { status: 405 });
    if (pathname === "/") return new Response(wrapBody(title, body, true), { headers: PAGE_HEADERS });
    if (pathname === "/events") return new Response(eventStream(), { headers: EVENT_HEADERS });
    return new Response(null, { status: 404 });
  });
  return {
    url: `http://${LOOPBACK}:${server.addr.port}/`,
    show(next) {
      body = next;
      for (const stream of streams) stream.enqueue(event("body", body));
    },
    async end() {
      for (const stream of streams) {
        stream.enqueue(event("end", ""));
        stream.close();
      }
      await server.shutdown();
    },
  };
}

function listen(port: number, handler: (request: Request) => Response): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname: LOOPBACK, port, onListen: () => {} }, handler);
  } catch (error) {
    throw new UserError(
      `Port ${port} of ${LOOPBACK} cannot be had (${
        (error as Error).message
      }): choose another --watch-port, or 0 for ` +
        `any that is free`,
    );
  }
}

const encoder = new TextEncoder();

/** A server-sent event; JSON keeps it on one line. */
function event(name: string, data: string): Uint8Array {
  return encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
}

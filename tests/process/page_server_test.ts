// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, notStrictEqual, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { createPageStreams } from "../../lib/report/page_streams.ts";
import { startPageServer } from "../../lib/report/page_server.ts";

/** Addresses that this process' machine listens on at a port, as the kernel tells them. */
function listeners(port: number): string[] {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  const listening = /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F:]+ 0A /;
  return ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((path) =>
    Deno.readTextFileSync(path).split("\n").flatMap((line) => {
      const [, address, at] = listening.exec(line) ?? [];
      return at === hex ? [address as string] : [];
    })
  );
}

/** The answer to a request with a Host of its own choice, which fetch does not let one choose. */
async function rawRequest(port: number, text: string): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port });
  await connection.write(new TextEncoder().encode(text));
  const buffer = new Uint8Array(4096);
  const count = await connection.read(buffer);
  return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
}

Deno.test("startPageServer() listens on 127.0.0.1 alone and answers to that name alone", async () => {
  const server = startPageServer("run", 0);
  const { port: portText, pathname } = new URL(server.url);
  const port = Number(portText);
  deepStrictEqual(listeners(port), ["0100007F"]);
  for (const { address, family } of Deno.networkInterfaces()) {
    if (family !== "IPv4" || address.startsWith("127.")) continue;
    await rejects(Deno.connect({ hostname: address, port }), Deno.errors.ConnectionRefused);
  }
  const get = (host: string) =>
    rawRequest(port, `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  match(await get(`127.0.0.1:${port}`), /^HTTP\/1\.1 200 /);
  match(await get(`localhost:${port}`), /^HTTP\/1\.1 200 /);
  match(await get(`rebound.example:${port}`), /^HTTP\/1\.1 403 /);
  match(await get("127.0.0.1:1"), /^HTTP\/1\.1 403 /);
  for (const method of ["POST", "HEAD", "PUT", "DELETE", "OPTIONS"]) {
    const response = await fetch(server.url, { method });
    deepStrictEqual([response.status, response.headers.get("allow")], [405, "GET"]);
    await response.body?.cancel();
  }
  throws(
    () => startPageServer("run", port),
    /Port \d+ of 127\.0\.0\.1 cannot be had .*choose another --watch-port/,
  );
  await server.end();
  await rejects(fetch(server.url));
});

Deno.test("startPageServer() sends open pages what is shown, what comes, and the end", async () => {
  const server = startPageServer("a <run>", 0);
  const page = await (await fetch(server.url)).text();
  match(page, /<title>a &lt;run&gt;<\/title>/);
  match(page, /No step has ended yet/);
  const response = await fetch(`${server.url}events`);
  strictEqual(response.headers.get("content-type"), "text/event-stream");
  server.show('<p>1 "one"\n</p>');
  match(await (await fetch(server.url)).text(), /<main><p>1 "one"\n<\/p><\/main>/);
  const text = response.text();
  await server.end();
  const events = (await text).trimEnd().split("\n\n");
  strictEqual(events.length, 3);
  ok(events[0]?.startsWith("event: body\ndata: "));
  strictEqual(events[1], 'event: body\ndata: "<p>1 \\"one\\"\\n</p>"');
  strictEqual(events[2], 'event: end\ndata: ""');
});

Deno.test("startPageServer() shows nothing without the token of its address, a new one each time", async () => {
  const [server, other] = [startPageServer("run", 0), startPageServer("run", 0)];
  const { origin, pathname } = new URL(server.url);
  match(pathname, /^\/[\w-]{32}\/$/);
  notStrictEqual(pathname, new URL(other.url).pathname);
  const token = pathname.slice(1, -1);
  const wrong = [
    ...["", "events", token, token.slice(0, -1) + "/", `${token}x/`, `${token}/events/`, `${token}/run.json`],
    ...[`${token}//`, token.toUpperCase() + "/", `%00${token}/`, new URL(other.url).pathname.slice(1)],
  ];
  for (const path of wrong) {
    for (const method of ["GET", "POST"]) {
      const response = await fetch(`${origin}/${path}`, { method });
      strictEqual(response.status, 404, path);
      match(await response.text(), /the page's address is the whole one that was printed/);
    }
  }
  await Promise.all([server.end(), other.end()]);
});

Deno.test("startPageServer() refuses a request without end", async () => {
  const server = startPageServer("run", 0);
  const { port, pathname } = new URL(server.url);
  for (
    const text of [`GET ${pathname} HTTP/1.1\r\nx: ${"a".repeat(2 ** 21)}`, `GET /${"a".repeat(2 ** 21)}`]
  ) {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
    // The server does not take the rest.
    await connection.write(new TextEncoder().encode(text)).catch(() => {});
    const answer = await new Response(connection.readable).text().catch(() => "");
    match(answer, /^(HTTP\/1\.1 4\d\d |$)/);
  }
  await server.end();
});

/** A client that asks for the stream and reads nothing, as a suspended browser does. */
async function stalledClient(url: string): Promise<Deno.TcpConn> {
  const { hostname, port, host, pathname } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(`GET ${pathname}events HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
  return connection;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

Deno.test("startPageServer() holds the newest page alone for clients that read nothing, and ends without them", async () => {
  const server = startPageServer("run", 0);
  const clients = await Promise.all(Array.from({ length: 32 }, () => stalledClient(server.url)));
  await until(() => server.openPages === 32);
  const bodyOf = (number: number) => `<p>${number}</p>${String(number % 10).repeat(100_000)}`;
  const before = Deno.memoryUsage().rss;
  for (let number = 1; number <= 1000; number++) {
    server.show(bodyOf(number));
    if (number % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const held = Deno.memoryUsage().rss - before;
  ok(held < 400e6, `${held} bytes are held`); // all of them would be 3.2e9
  // Whoever reads again gets the newest next to what was on its way, and not those between.
  const reading = new Response(clients[0]?.readable).text();
  await server.end();
  const numbers = [...(await reading).matchAll(/<p>(\d+)<\/p>/g)].map(([, number]) => Number(number));
  strictEqual(numbers.at(-1), 1000);
  ok(numbers.length < 500, `${numbers.length} pages were sent`);
  clients.slice(1).forEach((client) => client.close());
});

Deno.test("startPageServer() serves 32 pages at once, and others when one of them has left", async () => {
  const server = startPageServer("run", 0);
  const clients = await Promise.all(Array.from({ length: 32 }, () => stalledClient(server.url)));
  await until(() => server.openPages === 32);
  for (const path of ["", "events"]) {
    const response = await fetch(server.url + path);
    strictEqual(response.status, 503);
    match(await response.text(), /^32 pages watch this run already: close one/);
  }
  clients.pop()?.close();
  await until(() => server.openPages === 31);
  const response = await fetch(server.url);
  strictEqual(response.status, 200);
  await response.text();
  clients.forEach((client) => client.close());
  await until(() => server.openPages === 0);
  await server.end();
});

Deno.test("createPageStreams() pings readers that wait, and lets go those that take nothing", async () => {
  using streams = createPageStreams("first", { pingMs: 5, stalledMs: 20 });
  const waiting = streams.add().getReader();
  const stalled = streams.add().getReader();
  await stalled.read();
  strictEqual(streams.open, 2);
  const next = async () => new TextDecoder().decode((await waiting.read()).value);
  strictEqual(await next(), 'event: body\ndata: "first"\n\n');
  strictEqual(await next(), ": ping\n\n");
  streams.show("second");
  streams.show("third");
  let text = await next();
  while (text === ": ping\n\n") text = await next();
  strictEqual(text, 'event: body\ndata: "third"\n\n');
  while (streams.open === 2) await next();
  await rejects(stalled.read(), /takes nothing/);
  await waiting.cancel();
  strictEqual(streams.open, 0);
});

Deno.test("createPageStreams() pings every 15 seconds, and waits two minutes for a reader, unless told otherwise", async () => {
  const { setInterval: start } = globalThis;
  const now = performance.now;
  let [nowMs, pingMs] = [0, 0];
  let ping = () => {};
  Object.assign(globalThis, {
    setInterval: (work: () => void, ms: number) => {
      [ping, pingMs] = [work, ms];
      return start(() => {}, 1 << 30);
    },
  });
  performance.now = () => nowMs;
  try {
    using streams = createPageStreams("first");
    strictEqual(pingMs, 15_000);
    const stalled = streams.add().getReader();
    await stalled.read();
    nowMs = 120_000;
    ping();
    strictEqual(streams.open, 1);
    nowMs = 120_001;
    ping();
    strictEqual(streams.open, 0);
    await rejects(stalled.read(), /takes nothing/);
  } finally {
    performance.now = now;
    Object.assign(globalThis, { setInterval: start });
  }
});

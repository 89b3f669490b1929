// SPDX-License-Identifier: Apache-2.0
import { deepStrictEqual, match, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { startPageServer } from "../../../lib/report/page_server.ts";

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
  const port = Number(new URL(server.url).port);
  deepStrictEqual(listeners(port), ["0100007F"]);
  for (const { address, family } of Deno.networkInterfaces()) {
    if (family !== "IPv4" || address.startsWith("127.")) continue;
    await rejects(Deno.connect({ hostname: address, port }), Deno.errors.ConnectionRefused);
  }
  const get = (host: string) =>
    rawRequest(port, `GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  match(await get(`127.0.0.1:${port}`), /^HTTP\/1\.1 200 /);
  match(await get(`localhost:${port}`), /^HTTP\/1\.1 200 /);
  match(await get(`rebound.example:${port}`), /^HTTP\/1\.1 403 /);
  match(await get("127.0.0.1:1"), /^HTTP\/1\.1 403 /);
  for (
    const [path, method, status] of [["", "POST", 405], ["run.json", "GET", 404], [
      "../etc",
      "GET",
      404,
    ]] as const
  ) {
    const response = await fetch(server.url + path, { method });
    strictEqual(response.status, status);
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

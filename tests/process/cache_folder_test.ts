// SPDX-License-Identifier: Apache-2.0
/** Where what is kept for the next time lies. */
import assert from "node:assert/strict";
import { cacheFolder } from "../../lib/files/cache.ts";

Deno.test("cacheFolder() is MEFT_CACHE, then XDG_CACHE_HOME, then the home's, where it may be used", async () => {
  const names = ["MEFT_CACHE", "XDG_CACHE_HOME", "HOME", "USERPROFILE"] as const;
  const before = names.map((name) => [name, Deno.env.get(name)] as const);
  const { query } = Deno.permissions;
  const folderWith = (variables: Partial<Record<typeof names[number], string>>) => {
    for (const name of names) {
      const value = variables[name];
      if (value === undefined) Deno.env.delete(name);
      else Deno.env.set(name, value);
    }
    return cacheFolder("kind");
  };
  try {
    const all = { MEFT_CACHE: "/own", XDG_CACHE_HOME: "/caches", HOME: "/home", USERPROFILE: "/profile" };
    assert.equal(await folderWith(all), "/own/kind");
    assert.equal(await folderWith({ ...all, MEFT_CACHE: "off" }), null);
    assert.equal(await folderWith({ ...all, MEFT_CACHE: "" }), "/caches/meft/kind");
    const relative = { XDG_CACHE_HOME: "caches", HOME: "/home", USERPROFILE: "/profile" };
    assert.equal(await folderWith(relative), "/home/.cache/meft/kind");
    assert.equal(await folderWith({ USERPROFILE: "/profile" }), "/profile/.cache/meft/kind");
    assert.equal(await folderWith({}), null);
    for (const refused of ["read", "write"]) {
      Deno.permissions.query = (permission) =>
        permission.name === refused
          ? Promise.resolve({ state: "prompt" } as Deno.PermissionStatus)
          : query.call(Deno.permissions, permission);
      assert.equal(await folderWith(all), null, `no permission to ${refused}`);
    }
    Deno.permissions.query = (permission) =>
      "variable" in permission && permission.variable === "MEFT_CACHE"
        ? Promise.resolve({ state: "prompt" } as Deno.PermissionStatus)
        : query.call(Deno.permissions, permission);
    assert.equal(await folderWith(all), "/caches/meft/kind", "a variable that may not be read is none");
  } finally {
    Deno.permissions.query = query;
    for (const [name, value] of before) {
      value === undefined ? Deno.env.delete(name) : Deno.env.set(name, value);
    }
  }
});

// SPDX-License-Identifier: Apache-2.0
/** The folder of what is kept from one call to the next, and can be made again at any time. */
import { isAbsolute, join } from "node:path";

/**
 * `$MEFT_CACHE`, `$XDG_CACHE_HOME/meft` or `~/.cache/meft`, and within it the folder of one kind of things. It need not exist.
 *
 * @returns Null where that is off or may not be used
 */
export async function cacheFolder(kind: string): Promise<string | null> {
  const granted = async (permission: Deno.PermissionDescriptor) =>
    (await Deno.permissions.query(permission)).state === "granted"; // asking would stop for an answer
  const variable = async (name: string) =>
    await granted({ name: "env", variable: name }) ? Deno.env.get(name) : undefined;
  const own = await variable("MEFT_CACHE");
  if (own === "off") return null;
  const caches = await variable("XDG_CACHE_HOME");
  const home = await variable("HOME") ?? await variable("USERPROFILE");
  const folder = own
    ? own
    : caches && isAbsolute(caches)
    ? join(caches, "meft")
    : home
    ? join(home, ".cache", "meft")
    : null;
  if (folder === null) return null;
  const usable = await granted({ name: "read", path: folder }) &&
    await granted({ name: "write", path: folder });
  return usable ? join(folder, kind) : null;
}

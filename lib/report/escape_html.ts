// SPDX-License-Identifier: Apache-2.0
/** Text for HTML. */

/** Text as HTML shows it: no tag, no entity. */
export function escapeHtml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll(
    '"',
    "&quot;",
  );
}

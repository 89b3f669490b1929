// SPDX-License-Identifier: Apache-2.0
/** Text for HTML. */
import { visibleText } from "../core/visible_text.ts";

/** Text as HTML shows it, between tags and in an attribute: no tag, no entity, nothing that turns the text beside it. */
export function escapeHtml(text: string): string {
  return visibleText(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll(
      '"',
      "&quot;",
    );
}

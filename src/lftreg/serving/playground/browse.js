// The registry: a list that is searched, and one adapter in full.

import { adapters, sentence } from "./api.js";
import { detail } from "./detail.js";
import { $, ago, clean, count, h, later } from "./dom.js";

const ROWS = 50;

export function browse() {
  let asking;
  let showing; // the REF whose details stand there
  let listed = false;
  let told = 0; // rows of the list that are there

  async function list(offset = 0) {
    asking?.abort();
    asking = new AbortController();
    const wanted = { q: $("filter").value.trim(), all: $("all").checked ? 1 : "", offset, limit: ROWS };
    try {
      const { adapters: rows, total } = await adapters(wanted, asking.signal);
      const first = $("rows").children.length;
      if (offset === 0) $("rows").replaceChildren(...rows.map(row));
      else $("rows").append(...rows.map(row));
      told = offset + rows.length;
      listed = true;
      $("list-count").textContent = total ? `${count(told)} of ${count(total)}` : nothing(wanted.q);
      if (offset > 0) $("rows").children[first]?.querySelector("a").focus();
      $("more").hidden = told >= total;
    } catch (error) {
      if (error.name === "AbortError") return;
      $("list-count").textContent = sentence(error);
      if (offset === 0) $("rows").replaceChildren();
      $("more").hidden = true;
    }
    mark();
  }

  function mark() {
    for (const link of $("rows").querySelectorAll("a")) {
      if (link.dataset.ref === showing) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  async function open(ref) {
    showing = ref || null;
    $("browse").classList.toggle("one", Boolean(ref));
    if (!listed) list();
    mark();
    if (!ref) {
      $("detail").replaceChildren(h("p", { class: "empty" }, "Choose an adapter to see all that is known of it."));
      return;
    }
    const parts = await detail(ref);
    if (showing !== ref) return;
    $("detail").replaceChildren(h("a", { href: "#browse", class: "back" }, "← All adapters"), ...parts.filter(Boolean));
    $("detail").scrollTop = 0;
    $("detail").focus({ preventScroll: true });
    if (matchMedia("(max-width: 60rem)").matches) scrollTo(0, 0);
  }

  const soon = later(150, () => list());
  $("filter").addEventListener("input", soon);
  $("all").addEventListener("change", () => list());
  $("more").addEventListener("click", () => list(told));
  return {
    open,
    /** Everything anew, with another key. */
    again() {
      listed = false;
      if (!$("browse").hidden) open(showing);
    },
  };
}

const nothing = (text) => (text ? "No adapter matches." : "The registry has no adapter for this base yet: `lftreg train` makes one.");

function row(one) {
  return h(
    "li",
    {},
    h(
      "a",
      { href: `#browse/${encodeURIComponent(one.ref)}`, "data-ref": one.ref },
      h("span", { class: "name" }, one.ref),
      h("span", { class: "badges" }, ...one.aliases.map((alias) => h("span", { class: "badge" }, `@${clean(alias)}`)),
        one.loaded ? h("span", { class: "badge loaded" }, "loaded") : null),
      h("span", { class: "quiet small" },
        [clean(one.domain ?? ""), one.kind, `rank ${one.rank}`, ago(one.created_at)].filter(Boolean).join(" · ")),
    ),
  );
}

// The box in which adapters are searched and chosen: a combobox that the keyboard alone can work.

import { adapters, sentence } from "./api.js";
import { $, clean, count, h, later, say } from "./dom.js";

const ROWS = 20;

/** `choose` is called with a REF; `taken` says whether one is chosen already. */
export function picker(choose, taken) {
  const box = $("search");
  const popup = $("popup");
  const list = $("found");
  let refs = [];
  let active = -1;
  let asking;
  let looking; // what is being asked, so that keys that come quickly wait for it
  let shown = null; // the text that the list is the answer to

  function close() {
    asking?.abort();
    looking = null;
    shown = null;
    list.replaceChildren();
    popup.hidden = true;
    active = -1;
    box.setAttribute("aria-expanded", "false");
    box.removeAttribute("aria-activedescendant");
  }

  function mark(at) {
    active = refs.length ? (at + refs.length) % refs.length : -1;
    for (const [place, option] of [...list.children].entries()) {
      option.setAttribute("aria-selected", String(place === active));
      if (place === active) option.scrollIntoView({ block: "nearest" });
    }
    if (active < 0) box.removeAttribute("aria-activedescendant");
    else box.setAttribute("aria-activedescendant", `found-${active}`);
  }

  function pick(at) {
    const ref = refs[at];
    if (ref == null) return;
    if (taken(ref)) {
      say(`${ref} is chosen already.`);
      return;
    }
    box.value = "";
    close();
    choose(ref);
  }

  function option(row, at) {
    const also = [row.aliases.map((alias) => `@${clean(alias)}`).join(" "), clean(row.domain ?? row.kind)];
    return h(
      "li",
      {
        role: "option", id: `found-${at}`, "aria-selected": "false", class: taken(row.ref) ? "taken" : null,
        on: { mousedown: (event) => event.preventDefault(), click: () => pick(at) },
      },
      h("span", { class: "name" }, row.ref),
      h("span", { class: "quiet small" }, taken(row.ref) ? "chosen" : also.filter(Boolean).join(" · ")),
    );
  }

  /** The list for what stands in the box, asked for once however often it is wanted. False where it was closed. */
  async function fresh() {
    while (shown !== box.value.trim()) {
      looking ??= look();
      if (!(await looking)) return false;
    }
    return true;
  }

  async function look() {
    asking?.abort();
    asking = new AbortController();
    const text = box.value.trim();
    try {
      const { rows, total } = await matching(text, asking.signal);
      refs = rows.map((row) => row.ref);
      list.replaceChildren(...rows.map(option));
      $("found-count").textContent = rows.length
        ? `${count(rows.length)} of ${count(total)}`
        : text ? "No adapter matches." : "The registry has no adapter for this base yet.";
      mark(text && rows.length ? 0 : -1);
      say($("found-count").textContent);
    } catch (error) {
      if (error.name === "AbortError") return false;
      refs = [];
      list.replaceChildren();
      $("found-count").textContent = sentence(error);
      say(sentence(error));
    }
    shown = text;
    looking = null;
    popup.hidden = false;
    box.setAttribute("aria-expanded", "true");
    return true;
  }

  const soon = later(120, () => {
    if (document.activeElement === box && (box.value.trim() || !popup.hidden)) fresh();
  });
  box.addEventListener("input", soon);
  box.addEventListener("click", fresh);
  box.addEventListener("blur", close);
  box.addEventListener("keydown", async (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (!(await fresh())) return;
      mark(event.key === "ArrowDown" ? active + 1 : active < 0 ? -1 : active - 1);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if ((await fresh()) && active >= 0) pick(active);
    } else if (event.key === "Escape" && !popup.hidden) {
      event.stopPropagation();
      close();
    }
  });
}

/** What a text finds: words anywhere in what is known of an adapter, or a REF such as support@prod. */
async function matching(text, signal) {
  const [name, at] = text.split("@");
  if (at === undefined) {
    const { adapters: rows, total } = await adapters({ q: text, limit: ROWS }, signal);
    return { rows, total };
  }
  const { adapters: versions } = await adapters({ name, all: 1, limit: 200 }, signal);
  const rows = versions.flatMap((row) => [
    ...row.aliases.map((alias) => `${row.name}@${alias}`).filter((ref) => ref.startsWith(text))
      .map((ref) => ({ ...row, ref, aliases: [], domain: row.ref })),
    ...(row.ref.startsWith(text) ? [row] : []),
  ]);
  return { rows: rows.slice(0, ROWS), total: rows.length };
}

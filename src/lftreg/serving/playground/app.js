// The page as a whole: its two views, the key, and what the server stands on.

import { adapters, key, sentence } from "./api.js";
import { browse } from "./browse.js";
import { $, clean, count, later, warn } from "./dom.js";
import { play } from "./play.js";

const views = { play: play(), browse: browse() };

function route() {
  const [view, rest] = location.hash.slice(1).split(/\/(.*)/s);
  const name = view in views ? view : "play";
  for (const each of Object.keys(views)) {
    $(each).hidden = each !== name;
    if (each === name) $(`to-${each}`).setAttribute("aria-current", "page");
    else $(`to-${each}`).removeAttribute("aria-current");
  }
  document.title = name === "play" ? "lftreg playground" : "lftreg registry";
  views[name].open(decoded(rest ?? ""));
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

/** What is served, at the top of the page. */
async function greet() {
  try {
    const { base, total } = await adapters({ limit: 1 });
    $("base").textContent = `${clean(base.id)} · ${count(total)} adapter${total === 1 ? "" : "s"}`;
    views.play.base(base.model, clean(base.id));
    $("key").removeAttribute("aria-invalid");
    warn("");
  } catch (error) {
    if (error.status === 401) $("key").setAttribute("aria-invalid", "true");
    warn(sentence(error));
  }
}

$("key").value = key.get();
$("key-form").addEventListener("submit", (event) => event.preventDefault());
$("key").addEventListener("input", () => key.set($("key").value.trim()));
$("key").addEventListener(
  "input",
  later(400, async () => {
    await greet();
    views.browse.again();
  }),
);
$("skip").addEventListener("click", () => $("main").focus());
addEventListener("hashchange", route);
route();
greet();

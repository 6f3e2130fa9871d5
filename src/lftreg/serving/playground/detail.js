// One version in full: as `lftreg show`, `lineage` and its training tell of it.

import { adapter, adapters, sentence } from "./api.js";
import { intervals, lineage, losses } from "./charts.js";
import { ago, bytes, clean, count, figure, h, measure } from "./dom.js";

/** The parts of a page about a version; where it cannot be had, a sentence. */
export async function detail(ref) {
  let one;
  try {
    one = await adapter(ref);
  } catch (error) {
    return [h("h2", {}, ref), h("p", { class: "error" }, sentence(error))];
  }
  const [made, curve, others] = await Promise.allSettled([
    adapter(one.ref, "lineage"),
    one.files.some((file) => file.name === "losses.json") ? adapter(one.ref, "losses") : null,
    adapters({ name: one.name, all: 1, limit: 100 }),
  ]);
  return [
    ...head(one),
    facts(one),
    ...training(one, curve),
    ...scores(one.scores ?? []),
    ...samples(one.samples ?? []),
    ...origin(one, made),
    ...versions(one, others),
    files(one.files),
  ];
}

function head(one) {
  const tags = Object.entries(one.tags);
  return [
    h("div", { class: "title" },
      h("h2", {}, one.ref),
      ...one.aliases.map((alias) => h("span", { class: "badge" }, `@${clean(alias)}`)),
      one.loaded ? h("span", { class: "badge loaded" }, "loaded") : null,
      h("a", { class: "button", href: `#play/${one.ref}` }, "Ask it in the playground")),
    tags.length
      ? h("ul", { class: "tags", "aria-label": "Tags" }, tags.map(([name, value]) =>
          h("li", {}, h("bdi", { class: "quiet" }, `${clean(name)} `), h("bdi", {}, clean(value)))))
      : null,
  ];
}

function facts(one) {
  const share = (100 * one.trainable_parameters) / Math.max(1, one.total_parameters);
  return fields([
    ["Kind", one.kind],
    ["Domain", one.domain],
    ["Rank", `${one.rank}, alpha ${figure(one.alpha)}`],
    ["Targets", one.target_modules.join(", ")],
    ["Parameters", `${count(one.trainable_parameters)} of ${count(one.total_parameters)} (${share.toFixed(2)}%)`],
    ["Size", bytes(one.bytes)],
    ["Created", h("time", { datetime: one.created_at, title: one.created_at }, `${ago(one.created_at)}`)],
    ["Digest", h("code", { class: "digest" }, one.digest)],
  ]);
}

function training(one, curve) {
  if (!one.run) return [];
  const loss = one.loss ?? {};
  const change = (before, after) =>
    loss[before] == null || loss[after] == null ? null : `${figure(loss[before])} → ${figure(loss[after])}`;
  const examples = Object.entries(one.examples ?? {}).map(([split, number]) => `${count(number)} ${split}`);
  return [
    h("h3", {}, "Training"),
    fields([
      ["Loss", change("train_first", "train_last")],
      ["Validation", change("validation_before", "validation_after")],
      ["Accuracy", change("accuracy_before", "accuracy_after")],
      ["Old data", one.forgotten ? `${figure(one.forgotten.before)} → ${figure(one.forgotten.after)}` : null],
      ["Rows", examples.join(", ")],
      ["Tokens", one.tokens ? `${count(one.tokens)} in ${figure(one.seconds)} s` : null],
      ["Seed", String(one.run.seed)],
    ]),
    ...drawn(curve, losses),
    folded("Settings", fields(Object.entries(one.run.settings).map(([name, value]) => [clean(name), told(value)]))),
  ];
}

function scores(found) {
  return found.flatMap((score) => {
    const rows = Object.entries(score.metrics);
    const title = `${clean(score.suite)}, ${count(score.n)} items, ${ago(score.at)}`;
    return [
      h("h3", {}, "Scores"),
      h("p", { class: "quiet" }, title),
      table(
        ["metric", "base", "adapter", "difference", "95% interval"],
        rows.map(([name, one]) => [
          clean(name), measure(one.base, one.unit), measure(one.value, one.unit), measure(one.delta, one.unit, true),
          one.ci95 ? one.ci95.map((end) => measure(end, one.unit, true)).join(" to ") : clean(one.note ?? "–"),
        ]),
        title,
      ),
      intervals(rows.filter(([, one]) => one.ci95 && one.delta != null)),
    ];
  });
}

function samples(rows) {
  if (!rows.length) return [];
  return [
    h("h3", {}, "Before and after"),
    ...rows.map((one) =>
      h("div", { class: "sample" },
        h("p", { class: "asked", dir: "auto" }, one.prompt),
        fields([["Before", h("span", { dir: "auto" }, one.before || "(nothing)")], ["After", h("span", { dir: "auto" }, one.after || "(nothing)")]])),
    ),
  ];
}

function origin(one, made) {
  const recipe = one.recipe && fields([
    ["Method", [one.recipe.method, ...Object.entries(one.recipe.options).map(([name, value]) => `${name} ${told(value)}`)].map(clean).join(", ")],
    ["Parents", one.recipe.parents.map((parent) => `${parent.weight} × ${clean(parent.ref)}`).join(", ")],
    ["Error", one.recipe.relative_error == null ? null : `${one.recipe.relative_error.toExponential(1)} of the exact weighted sum`],
  ]);
  return [h("h3", {}, "Lineage"), recipe, ...drawn(made, lineage)];
}

function versions(one, others) {
  const rows = others.status === "fulfilled" ? others.value.adapters.filter((row) => row.ref !== one.ref) : [];
  if (!rows.length) return [];
  return [
    h("h3", {}, "Other versions"),
    h("ul", { class: "inline" }, rows.map((row) =>
      h("li", {}, h("a", { href: `#browse/${encodeURIComponent(row.ref)}` }, row.ref),
        h("span", { class: "quiet small" }, ` ${[...row.aliases.map((alias) => `@${clean(alias)}`), ago(row.created_at)].join(" · ")}`)))),
  ];
}

function files(rows) {
  return folded("Files", table(["file", "size", "sha256"],
    rows.map((file) => [clean(file.name), bytes(file.bytes), h("code", { title: file.sha256 }, file.sha256.slice(0, 12))]), "Files"));
}

/** A drawing of what was asked for; nothing where nothing was, a sentence where it failed. */
function drawn(result, draw) {
  if (result.status === "rejected") return [h("p", { class: "error" }, sentence(result.reason))];
  return result.value ? [draw(result.value)] : [];
}

function fields(pairs) {
  const there = pairs.filter(([, value]) => value != null && value !== "");
  return h("dl", {}, there.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

function table(titles, rows, label) {
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": label },
    h("table", {},
      h("thead", {}, h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, rows.map(([name, ...cells]) =>
        h("tr", {}, h("th", { scope: "row" }, name), cells.map((cell) => h("td", {}, cell)))))));
}

const folded = (title, part) => h("details", {}, h("summary", {}, title), part);

function told(value) {
  if (value === null) return null;
  return clean(typeof value === "object" ? JSON.stringify(value) : String(value));
}

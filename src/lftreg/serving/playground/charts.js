// Drawings: the curve of a training, intervals of scores, and what an adapter was made from.

import { clean, count, figure, h, measure, s } from "./dom.js";

const WIDEST = 680;
const NARROWEST = 280;

/** A drawing as wide as there is room, made anew when that changes, so that its words keep their size. */
function fitted(draw) {
  const wide = (room) => Math.round(Math.max(NARROWEST, Math.min(WIDEST, room)));
  let drawn = wide(document.documentElement.clientWidth - 40);
  const box = h("div", {}, draw(drawn));
  new ResizeObserver(([{ contentRect }]) =>
    requestAnimationFrame(() => {
      if (!contentRect.width || wide(contentRect.width) === drawn) return;
      drawn = wide(contentRect.width);
      box.replaceChildren(draw(drawn));
    }),
  ).observe(box);
  return box;
}

/** Training and validation losses by step. */
export function losses(told) {
  const known = [...told.steps.loss, ...told.validations.map((one) => one.loss)];
  if (!known.some(Number.isFinite)) return h("p", { class: "quiet" }, "The run kept no losses.");
  return fitted((wide) => curve(told, wide));
}

function curve({ steps, validations, total, unit }, wide) {
  const box = { left: 40, right: 12, top: 10, bottom: 34, height: 240 };
  const all = [...steps.loss, ...validations.map((one) => one.loss)].filter(Number.isFinite);
  const last = Math.max(total, 1, ...validations.map((one) => one.step));
  const up = ticks(Math.max(...all) || 1, 5);
  const top = up.at(-1);
  const x = (step) => box.left + ((wide - box.left - box.right) * step) / last;
  const y = (loss) => box.height - box.bottom - ((box.height - box.top - box.bottom) * Math.min(loss, top)) / top;
  const line = (losses) =>
    steps.step.map((step, at) => (Number.isFinite(losses[at]) ? `${x(step).toFixed(1)},${y(losses[at]).toFixed(1)}` : "")).join(" ");
  const best = validations.find((one) => one.loss === Math.min(...validations.map((each) => each.loss)));
  const told = validations.length
    ? `Validation loss from ${figure(validations[0].loss)} to ${figure(validations.at(-1).loss)}, best ${figure(best.loss)} at step ${count(best.step)}.`
    : `Training loss from ${figure(steps.loss[0])} to ${figure(steps.loss.at(-1))}.`;
  return h("figure", {},
    s("svg", { viewBox: `0 0 ${wide} ${box.height}`, role: "img", "aria-label": `Losses of ${count(last)} steps. ${told}`, class: "curve" },
      up.map((loss) => [
        s("line", { class: "grid", x1: box.left, x2: wide - box.right, y1: y(loss), y2: y(loss) }),
        s("text", { x: box.left - 6, y: y(loss) + 4, "text-anchor": "end" }, String(loss)),
      ]).flat(),
      ticks(last, wide < 480 ? 4 : 6, true).filter((step) => step <= last).map((step) =>
        s("text", { x: x(step), y: box.height - box.bottom + 16, "text-anchor": "middle" }, count(step))),
      s("text", { x: wide - box.right, y: box.height - 3, "text-anchor": "end" }, "optimizer step"),
      s("polyline", { class: "each", points: line(steps.loss) }),
      s("polyline", { class: "mean", points: line(steps.mean) }),
      s("polyline", { class: "validation", points: validations.map((one) => `${x(one.step)},${y(one.loss)}`).join(" ") }),
      validations.map((one) => s("circle", { class: one === best ? "best" : "point", cx: x(one.step), cy: y(one.loss), r: one === best ? 5 : 3 }))),
    h("figcaption", { class: "legend" },
      h("span", { class: "mean" }, "training, running mean"),
      validations.length ? h("span", { class: "validation" }, "validation") : null,
      h("span", { class: "quiet" }, `nats a ${clean(unit)}. ${told}`)));
}

/** Round numbers from 0 to the first one that is not less than `most`. */
function ticks(most, wanted, whole = false) {
  const raw = most / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  let every = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw);
  if (whole) every = Math.max(1, Math.round(every));
  return Array.from({ length: Math.ceil(most / every - 1e-9) + 1 }, (_, at) => Number((at * every).toPrecision(6)));
}

/** The paired differences of metrics and their intervals; each on a scale of its own, for their units differ. */
export function intervals(rows) {
  return rows.length ? fitted((wide) => forest(rows, wide)) : null;
}

function forest(rows, wide) {
  const [high, left, right] = [28, 150, 12];
  const lines = rows.map(([name, one], at) => {
    const reach = Math.max(...one.ci95.map(Math.abs), Math.abs(one.delta)) || 1;
    const x = (value) => left + (wide - left - right) * (0.5 + (0.48 * value) / reach);
    const y = high * at + high / 2;
    const [low, up] = one.ci95;
    const sure = low > 0 || up < 0;
    const good = (one.better === "lower" ? -one.delta : one.delta) > 0;
    return s("g", { class: sure ? (good ? "good" : "bad") : "open" },
      s("text", { x: left - 10, y: y + 4, "text-anchor": "end" }, clean(name)),
      s("line", { class: "zero", x1: x(0), x2: x(0), y1: y - high / 2, y2: y + high / 2 }),
      s("line", { x1: x(low), x2: x(up), y1: y, y2: y }),
      s("rect", { x: x(one.delta) - 4, y: y - 4, width: 8, height: 8 }));
  });
  const told = rows.map(([name, one]) => `${clean(name)} ${measure(one.delta, one.unit, true)}, from ${one.ci95.map((end) => measure(end, one.unit, true)).join(" to ")}`);
  return h("figure", {},
    s("svg", { viewBox: `0 0 ${wide} ${high * rows.length}`, role: "img", class: "forest", "aria-label": `Differences to the base: ${told.join("; ")}` }, lines),
    h("figcaption", { class: "quiet small" }, "Differences to the base with 95% intervals, each on its own scale; dashed: no difference."));
}

const NODE = { width: 210, height: 50, gap: 14, between: 84 };

/** Parents on the left, what was made of them on the right. */
export function lineage(root) {
  const nodes = [];
  const lines = [];
  let rows = 0;
  const depth = (node) => 1 + Math.max(0, ...node.parents.map(depth));
  const columns = depth(root);

  function place(node, column) {
    const parents = node.parents.map((parent) => [parent, place(parent, column - 1)]);
    const row = parents.length ? (parents[0][1].row + parents.at(-1)[1].row) / 2 : rows++;
    const at = { row, x: column * (NODE.width + NODE.between) + 1, y: row * (NODE.height + NODE.gap) + 1 };
    for (const [parent, from] of parents) lines.push(...edge(from, at, parent.weight));
    nodes.push(box(node, at, node === root));
    return at;
  }

  place(root, columns - 1);
  const wide = columns * NODE.width + (columns - 1) * NODE.between + 2;
  const height = rows * (NODE.height + NODE.gap) - NODE.gap + 2;
  return h("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "Lineage" },
    s("svg", { viewBox: `0 0 ${wide} ${height}`, width: wide, height, class: "lineage", role: "group", "aria-label": `What ${clean(root.ref)} was made from` }, lines, nodes));
}

function edge(from, to, weight) {
  const [x1, y1] = [from.x + NODE.width, from.y + NODE.height / 2];
  const [x2, y2] = [to.x, to.y + NODE.height / 2];
  const middle = (x1 + x2) / 2;
  return [
    s("path", { class: "edge", d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` }),
    weight == null ? null : s("text", { class: "weight", x: x1 + 8, y: y1 - 5 }, `× ${Number(weight.toPrecision(4))}`),
  ];
}

function box(node, { x, y }, here) {
  const name = node.ref == null ? "not shown" : clean(node.ref);
  const made = node.kind == null ? "no longer here" : [node.kind, node.method ?? node.domain].filter(Boolean).map(clean).join(", ");
  const parts = [
    s("rect", { x, y, width: NODE.width, height: NODE.height, rx: 6 }),
    s("text", { x: x + 10, y: y + 21, class: "name" }, short(name)),
    s("text", { x: x + 10, y: y + 38, class: "quiet" }, short(made)),
    s("title", {}, `${name}: ${made}`),
  ];
  if (here || node.kind == null || node.ref == null) return s("g", { class: here ? "node here" : "node gone" }, parts);
  return s("a", { class: "node", href: `#browse/${encodeURIComponent(node.ref)}`, "aria-label": `${name}, ${made}` }, parts);
}

const short = (text) => (text.length > 29 ? `${text.slice(0, 28)}…` : text);

// The mixer: adapters with weights, one prompt, and the answers side by side.

import { Card } from "./card.js";
import { composeCommand, curlCommand } from "./commands.js";
import { $, copy, h, later, say } from "./dom.js";
import { picker } from "./picker.js";

const REACH = 2; // of the sliders; a number may be larger
const COLOURS = 6;

export function play() {
  const chosen = []; // { ref, weight, row }, in the order in which they were chosen
  const cards = new Map(); // by what they show: "base", a REF, "mix"
  let base = null;
  let last = null; // what was asked last, so that the mix can be asked again

  const plain = () => chosen.length === 1 && chosen[0].weight === 1;
  const mixed = () => chosen.map(({ ref, weight }) => `${ref}:${weight}`).join("+");
  const asked = () => (chosen.length === 0 ? base?.model : plain() ? chosen[0].ref : mixed());

  function add(ref, weight = 1) {
    if (chosen.some((one) => one.ref === ref)) return;
    const one = { ref, weight };
    one.row = row(one);
    chosen.push(one);
    $("chosen").append(one.row);
    changed();
    say(`${ref} is chosen, with weight ${weight}.`);
  }

  function drop(one) {
    const at = chosen.indexOf(one);
    chosen.splice(at, 1);
    one.row.remove();
    changed();
    say(`${one.ref} is taken out.`);
    (chosen[Math.min(at, chosen.length - 1)]?.row.querySelector("button") ?? $("search")).focus();
  }

  function row(one) {
    const slider = h("input", { type: "range", list: "marks", min: -REACH, max: REACH, step: 0.05, "aria-label": `Weight of ${one.ref}` });
    const number = h("input", {
      type: "number", step: 0.05, class: "weight", "aria-label": `Weight of ${one.ref}, as a number`,
    });
    const remove = h(
      "button",
      { type: "button", class: "remove", "aria-label": `Take ${one.ref} out`, on: { click: () => drop(one) } },
      "×",
    );
    slider.value = number.value = one.weight;
    slider.addEventListener("input", () => {
      one.weight = Number(slider.value);
      number.value = one.weight;
      changed();
    });
    number.addEventListener("input", () => {
      const valid = number.value.trim() !== "" && Number.isFinite(number.valueAsNumber);
      number.setAttribute("aria-invalid", String(!valid));
      if (!valid) return;
      one.weight = Number(number.valueAsNumber.toFixed(6));
      slider.value = one.weight;
      changed();
    });
    number.addEventListener("change", () => {
      number.value = one.weight;
      number.removeAttribute("aria-invalid");
    });
    return h("li", {}, h("span", { class: "swatch" }), h("span", { class: "name" }, one.ref), remove, slider, number);
  }

  /** After every change: which cards there are, what they are called, and the address of this mix. */
  function changed() {
    $("chosen-none").hidden = chosen.length > 0;
    for (const [at, one] of chosen.entries()) one.row.dataset.colour = at % COLOURS;
    const wanted = [["base", base?.model ?? "", base ? `Base ${base.name}` : "Base", "base", "no adapter"]];
    for (const [at, one] of chosen.entries()) wanted.push([one.ref, one.ref, one.ref, String(at % COLOURS), "by itself"]);
    if (chosen.length && !plain()) wanted.push(["mix", mixed(), "The mix", "mix", mixed()]);
    for (const [id, card] of cards) {
      if (wanted.some(([one]) => one === id)) continue;
      card.stop();
      card.element.remove();
      cards.delete(id);
    }
    for (const [id, model, title, colour, told] of wanted) {
      if (!cards.has(id)) cards.set(id, new Card(settled));
      cards.get(id).show(title, model, colour, told);
      $("answers").append(cards.get(id).element);
    }
    commands();
    address();
    if (last && $("live").checked) again();
  }

  const address = later(200, () => {
    if ($("play").hidden) return;
    history.replaceState(null, "", chosen.length ? `#play/${mixed()}` : "#play");
  });

  function body() {
    const messages = [{ role: "user", content: $("prompt").value }];
    if ($("system").value.trim()) messages.unshift({ role: "system", content: $("system").value });
    const seed = $("seed").valueAsNumber; // without one the server draws it
    return {
      messages,
      temperature: number($("temperature"), 0),
      max_tokens: number($("max-tokens"), 128),
      ...(Number.isFinite(seed) ? { seed } : {}),
    };
  }

  function commands() {
    $("curl").textContent = curlCommand(asked() ?? "", body());
    $("compose").textContent = composeCommand(chosen);
    $("copy-compose").disabled = chosen.length === 0 || plain();
  }

  function ask() {
    if (!$("prompt").value.trim()) {
      say("Write a prompt first.");
      $("prompt").focus();
      return;
    }
    last = body();
    // A browser keeps six connections to a server: what is looked at most goes first.
    for (const id of ["mix", "base", ...chosen.map((one) => one.ref)]) cards.get(id)?.ask(last);
    settled();
  }

  /** The mix alone, after a weight has moved; whatever has never been asked, too. */
  const again = later(350, () => {
    for (const [id, card] of cards) if ((id === "mix" && card.stale) || card.fresh) card.ask(last);
    settled();
  });

  function stop() {
    for (const card of cards.values()) card.stop();
  }

  function settled() {
    const going = [...cards.values()].some((card) => card.going);
    const button = $("stop");
    if (!going && document.activeElement === button) $("ask").focus();
    button.disabled = !going;
  }

  picker(add, (ref) => chosen.some((one) => one.ref === ref));
  $("ask-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("ask-form").addEventListener("input", commands);
  $("stop").addEventListener("click", stop);
  for (const area of [$("prompt"), $("system")])
    area.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        ask();
      }
    });
  $("play").addEventListener("keydown", (event) => event.key === "Escape" && stop());
  $("copy-curl").addEventListener("click", (event) => copy($("curl").textContent, $("curl"), event.currentTarget));
  $("copy-compose").addEventListener("click", (event) =>
    copy($("compose").textContent, $("compose"), event.currentTarget),
  );

  return {
    base(model, name) {
      base = { model, name };
      changed();
    },
    /** `mix` is what stands in the address: a:0.7+b:0.3. */
    open(mix) {
      if (mix && mix !== mixed())
        for (const part of mix.split("+")) {
          const [, ref, weight] = part.match(/^(.+?)(?::(-?[\d.]+(?:e-?\d+)?))?$/) ?? [];
          if (ref && /^[a-z0-9][\w.@:-]*$/.test(ref)) add(ref, Number.isFinite(Number(weight ?? 1)) ? Number(weight ?? 1) : 1);
        }
      changed();
    },
  };
}

function number(input, otherwise) {
  return Number.isFinite(input.valueAsNumber) ? input.valueAsNumber : otherwise;
}

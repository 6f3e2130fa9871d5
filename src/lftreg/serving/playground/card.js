// One answer: who gives it, the text as it comes, how fast it came, and what went wrong.

import { chat, sentence } from "./api.js";
import { h, say } from "./dom.js";

let numbers = 0;

export class Card {
  /** `settled` is called whenever an answer has ended. */
  constructor(settled) {
    const id = `card-${++numbers}`;
    this.settled = settled;
    this.heading = h("h3", { id });
    this.who = h("p", { class: "who small" });
    this.meta = h("p", { class: "meta quiet small" }, "not asked yet");
    this.answer = h("div", {
      class: "answer", tabindex: 0, role: "region", "aria-labelledby": id, "aria-live": "polite", "aria-busy": "false", dir: "auto",
    });
    this.button = h(
      "button",
      { type: "button", class: "small", disabled: true, on: { click: () => this.stop() } },
      "Stop",
    );
    this.element = h("article", { class: "card" }, h("header", {}, this.heading, this.button, this.who), this.answer, this.meta);
    this.fresh = true; // never asked
    this.asked = null; // the model that the text is from
  }

  get going() {
    return this.calling != null;
  }

  /** Whether the text is from other weights than those that are set now. */
  get stale() {
    return this.asked !== this.model;
  }

  show(title, model, colour, told) {
    this.model = model;
    this.title = title;
    this.heading.textContent = title;
    this.who.textContent = told;
    this.button.setAttribute("aria-label", `Stop ${title}`);
    this.element.dataset.colour = colour;
    const stale = !this.fresh && this.stale;
    this.element.classList.toggle("stale", stale);
    if (stale && !this.going) this.meta.textContent = "from other weights: ask again";
  }

  stop() {
    this.calling?.abort();
  }

  async ask(body) {
    this.stop();
    const calling = (this.calling = new AbortController());
    this.fresh = false;
    this.asked = this.model;
    this.element.classList.remove("stale", "failed");
    this.answer.setAttribute("aria-busy", "true");
    this.answer.replaceChildren();
    this.button.disabled = false;
    this.meta.textContent = "waiting …";
    const text = document.createTextNode("");
    this.answer.append(text);
    const clock = { from: performance.now(), first: null, pieces: 0 };
    const told = () => this.calling === calling; // a later question may have taken this card
    try {
      const end = await chat({ model: this.model, ...body }, (piece) => told() && this.#add(text, piece, clock), calling.signal);
      if (told()) this.#ended(end, clock);
    } catch (error) {
      if (told()) this.#failed(error, clock);
    } finally {
      if (told()) {
        this.calling = null;
        if (document.activeElement === this.button) this.answer.focus();
        this.button.disabled = true;
        this.answer.setAttribute("aria-busy", "false");
        this.settled();
      }
    }
  }

  #add(text, piece, clock) {
    clock.first ??= performance.now();
    clock.pieces++;
    const below = this.answer.scrollHeight - this.answer.scrollTop - this.answer.clientHeight < 8;
    text.appendData(piece);
    if (below) this.answer.scrollTop = this.answer.scrollHeight;
    this.meta.textContent = speed(clock.pieces, clock);
  }

  #ended(end, clock) {
    if (!this.answer.textContent) this.answer.append(h("span", { class: "quiet" }, "(nothing)"));
    this.meta.textContent = speed(end.tokens ?? clock.pieces, clock, end.reason === "length" ? "cut at max tokens" : "");
    say(`${this.title} has answered.`);
  }

  #failed(error, clock) {
    if (error.name === "AbortError") {
      this.meta.textContent = clock.pieces ? speed(clock.pieces, clock, "stopped") : "stopped";
      return;
    }
    this.element.classList.add("failed");
    this.answer.append(h("p", { class: "error" }, sentence(error)));
    this.meta.textContent = "no answer";
  }
}

/** Tokens and tokens a second after the first one; on a second line how long that took, and why it has ended. */
function speed(tokens, { from, first }, why = "") {
  const counted = [`${tokens} token${tokens === 1 ? "" : "s"}`];
  const more = why ? [why] : [];
  if (first != null) {
    const seconds = (performance.now() - first) / 1000;
    if (tokens > 1 && seconds > 0) counted.push(`${((tokens - 1) / seconds).toFixed(1)} tokens/s`);
    more.unshift(`first after ${((first - from) / 1000).toFixed(2)} s`);
  }
  return [counted, more].map((parts) => parts.join(" · ")).join("\n");
}

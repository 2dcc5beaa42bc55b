// What was said in a call, turn by turn, each with its waterfall.

import { waterfall } from "./waterfall.js";
import { duration, el, fill } from "./view.js";

// Turns on the screen of a live call; `/calls/{id}` has more.
const TURNS_SHOWN = 100;
// How far from its end a transcript may be scrolled and still follow what is said.
const FOLLOW_PX = 40;

// The turns of a call, as a list that is redrawn where something has changed, and follows its end unless it was scrolled away.
export class Turns {
  constructor() {
    this.element = el("div", { class: "turns", hidden: true, role: "log", "aria-label": "Transcript", tabindex: "0" });
    this.rows = new Map();
    this.open = new Set();
    this.growing = null;
    this.providers = null;
    this.follows = true;
    this.element.addEventListener("scroll", () => (this.follows = this.isAtEnd()));
    this.element.addEventListener("click", () => (this.follows = this.isAtEnd()));
    new ResizeObserver(() => this.follow()).observe(this.element);
  }

  turn(turn) {
    if (turn.caller && this.growing) this.partial("");
    let row = this.rows.get(turn.turn);
    if (!row) {
      row = new Row(turn.turn);
      this.rows.set(turn.turn, row);
      this.element.insertBefore(row.element, this.growing);
    }
    row.show(turn, this.providers, this.open);
    for (const [key, row] of this.rows) {
      if (this.rows.size <= TURNS_SHOWN) break;
      row.element.remove();
      this.rows.delete(key);
    }
    this.show();
  }

  // What the caller has said so far; words that were there stay as they are, and new ones fade in.
  partial(text) {
    if (!text) {
      this.growing?.remove();
      this.growing = null;
      return;
    }
    if (!this.growing) {
      const said = el("dd", { class: "growing" });
      this.growing = el("div", { class: "turn", "aria-live": "off" }, el("dl", { class: "said" }, el("dt", {}, "Caller"), said));
      this.element.append(this.growing);
    }
    const said = this.growing.querySelector("dd");
    const words = text.split(/\s+/).filter(Boolean);
    const kept = [...said.children];
    const same = kept.findIndex((word, at) => word.textContent !== `${words[at]} `);
    const from = same < 0 ? Math.min(kept.length, words.length) : same;
    kept.slice(from).forEach((word) => word.remove());
    said.append(...words.slice(from).map((word) => el("span", { class: "word" }, `${word} `)));
    this.show();
  }

  // A remark between two turns; it is made once, however often it would be true of the same turn.
  remark(text) {
    const last = this.growing ? this.growing.previousElementSibling : this.element.lastElementChild;
    if (last?.textContent === text) return;
    this.element.insertBefore(el("p", { class: "remark" }, text), this.growing);
    this.show();
  }

  // Gives every turn that `lines` of a transcript place in the recording a time, which `seek` goes to.
  time(lines, seek) {
    this.spans = new Map();
    for (const { turn, from_s: from, to_s: to } of lines) {
      if (from === null) continue;
      const span = this.spans.get(turn) ?? { from, to: from };
      this.spans.set(turn, { from: Math.min(span.from, from), to: Math.max(span.to, to ?? from) });
    }
    for (const [number, { from }] of this.spans) {
      const at = duration(Math.floor(from));
      const button = el("button", { type: "button", class: "link at", "aria-label": `Play from ${at}` }, at);
      button.addEventListener("click", () => seek(from));
      this.rows.get(number)?.element.prepend(button);
    }
    this.element.classList.toggle("timed", this.spans.size > 0);
  }

  // Shows which turn is heard at `at` seconds of the recording.
  playing(at) {
    for (const [number, { element }] of this.rows) {
      const span = this.spans?.get(number);
      element.classList.toggle("playing", Boolean(span && at >= span.from && at <= span.to));
    }
  }

  // All waterfalls of a call are drawn to one scale: the longest fills the line.
  scale() {
    const spans = [...this.element.querySelectorAll(".fall")].map((fall) => Number(fall.dataset.span));
    if (spans.length) this.element.style.setProperty("--longest", String(Math.max(...spans)));
  }

  isAtEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight < FOLLOW_PX;
  }

  follow() {
    if (this.follows) this.element.scrollTop = this.element.scrollHeight;
  }

  show() {
    this.element.hidden = this.element.childElementCount === 0;
    this.scale();
    this.follow();
  }
}

// One turn, redrawn where it has changed.
class Row {
  constructor(number) {
    this.said = el("dl", { class: "said" });
    this.element = el("div", { class: "turn", "data-turn": String(number) }, this.said);
    this.fall = null;
    this.drawn = "";
  }

  show(turn, providers, open) {
    fill(this.said, ...linesOf(turn));
    if (!turn.latency_ms || turn.turn === 0) return;
    const { latency_ms, speculation, slo_breach, filler } = turn;
    const drawn = JSON.stringify([latency_ms, speculation, slo_breach, filler, providers]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const fall = waterfall(turn, providers, open);
    if (this.fall) this.fall.replaceWith(fall);
    else this.element.append(fall);
    this.fall = fall;
  }
}

function linesOf(turn) {
  const waits = turn.interrupted ? "cut before a word was heard" : turn.latency_ms || turn.turn === 0 ? "speaking…" : "thinking…";
  const agent = turn.agent || el("span", { class: "waiting" }, waits);
  const tags = [];
  if (turn.interrupted) tags.push(el("span", { class: "tag cut" }, "interrupted"));
  if (turn.filler) tags.push(el("span", { class: "tag", title: "Kept words bridged the wait for the reply" }, "filler"));
  if (turn.turn === 0) tags.push(el("span", { class: "tag" }, "greeting"));
  const lines = turn.caller ? [el("dt", {}, "Caller"), el("dd", {}, turn.caller)] : [];
  return [...lines, el("dt", { class: "agent" }, "Agent"), el("dd", {}, agent, ...tags)];
}

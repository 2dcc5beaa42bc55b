// One call on the page: a live one with all that it does, and a past one that shows what it was.

import { ask } from "./stream.js";
import { listen, player } from "./listen.js";
import { waterfall } from "./waterfall.js";
import { clock, duration, el, ms, party, share, swap, user } from "./view.js";

// Turns on the screen of a live call; `/calls/{id}` has more.
const TURNS_SHOWN = 100;

// The turns of a call, as a list that is redrawn turn by turn.
class Turns {
  constructor() {
    this.element = el("div", { class: "turns", hidden: true, role: "log", "aria-label": "Transcript", tabindex: "0" });
    this.rows = new Map();
    this.open = new Set();
    this.growing = null;
  }

  turn(turn) {
    const row = turnRow(turn, this.open);
    const old = this.rows.get(turn.turn);
    if (turn.caller && this.growing) this.partial("");
    const atEnd = this.isAtEnd();
    this.rows.set(turn.turn, old ? swap(old, row) : row);
    if (!old) this.element.insertBefore(row, this.growing);
    for (const [key, row] of this.rows) {
      if (this.rows.size <= TURNS_SHOWN) break;
      row.remove();
      this.rows.delete(key);
    }
    this.show(atEnd);
  }

  // What the caller has said so far; words that were there stay as they are, and new ones fade in.
  partial(text) {
    const atEnd = this.isAtEnd();
    if (!text) {
      this.growing?.remove();
      this.growing = null;
      return;
    }
    if (!this.growing) {
      const said = el("dd", { class: "growing" });
      this.growing = el("div", { class: "turn" }, el("dl", { class: "said" }, el("dt", {}, "Caller"), said));
      this.element.append(this.growing);
    }
    const said = this.growing.querySelector("dd");
    const words = text.split(/\s+/).filter(Boolean);
    const kept = [...said.children];
    const same = kept.findIndex((word, at) => word.textContent !== `${words[at]} `);
    const from = same < 0 ? Math.min(kept.length, words.length) : same;
    kept.slice(from).forEach((word) => word.remove());
    said.append(...words.slice(from).map((word) => el("span", { class: "word" }, `${word} `)));
    this.show(atEnd);
  }

  // All waterfalls of a call are drawn to one scale: the longest fills the line.
  scale() {
    const spans = [...this.element.querySelectorAll(".fall")].map((fall) => Number(fall.dataset.span));
    if (spans.length) this.element.style.setProperty("--longest", String(Math.max(...spans)));
  }

  isAtEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.element;
    return scrollHeight - scrollTop - clientHeight < 40;
  }

  show(atEnd) {
    this.element.hidden = this.rows.size === 0 && !this.growing;
    this.scale();
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }
}

function turnRow(turn, open) {
  const said = el("dl", { class: "said" });
  if (turn.caller) said.append(el("dt", {}, "Caller"), el("dd", {}, turn.caller));
  const agent = turn.agent || el("span", { class: "waiting" }, turn.latency_ms || turn.turn === 0 ? "speaking…" : "thinking…");
  const tags = [];
  if (turn.interrupted) tags.push(el("span", { class: "tag cut" }, "interrupted"));
  if (turn.filler) tags.push(el("span", { class: "tag" }, "filler"));
  if (turn.turn === 0) tags.push(el("span", { class: "tag" }, "greeting"));
  said.append(el("dt", { class: "agent" }, "Agent"), el("dd", {}, agent, ...tags));
  const fall = turn.latency_ms && turn.turn > 0 ? waterfall(turn, turn.turn, open) : null;
  return el("div", { class: "turn", "data-turn": String(turn.turn) }, said, fall);
}

function flowOf(quality) {
  const facts = [];
  const fact = (name, value) => facts.push(el("span", {}, `${name} `, el("b", {}, value)));
  fact("Jitter", `${ms(quality.jitter_ms.p50)} p50, ${ms(quality.jitter_ms.p99)} p99`);
  const all = quality.packets_received + quality.lost;
  fact("Loss", `${quality.lost} of ${all.toLocaleString("en")}`);
  if (quality.late) fact("Late", String(quality.late));
  if (quality.concealed_ms) fact("Concealed", ms(quality.concealed_ms));
  fact("Pacing", `${ms(quality.pacing_error_ms.p99)} p99`);
  if (quality.round_trip_ms !== null) fact("Round trip", ms(quality.round_trip_ms));
  if (quality.remote_loss_percent !== null) fact("Loss at the phone", `${quality.remote_loss_percent.toFixed(1)} %`);
  if (quality.underruns) fact("Underruns", String(quality.underruns));
  return facts;
}

function who(call) {
  return [party(call.from), el("span", { class: "to" }, ` to ${user(call.to)}`)];
}

function metaOf(call) {
  const { stt, llm, tts } = call.providers ?? {};
  const facts = [call.source, call.codec, call.srtp ? "encrypted" : null, stt ? `${stt}, ${llm}, ${tts}` : null];
  return facts.filter(Boolean).map((fact) => el("span", {}, fact));
}

export class CallCard {
  constructor(callId, act) {
    this.callId = callId;
    this.act = act;
    this.turns = new Turns();
    this.name = el("h3", { class: "who" });
    this.clock = el("p", { class: "clock" });
    this.meta = el("p", { class: "meta" });
    this.findingText = el("p", { class: "finding", role: "alert", hidden: true });
    this.flow = el("div", { class: "flow", hidden: true });
    this.meters = ["caller", "agent"].map((side) => {
      const fill = el("i");
      return { fill, db: el("span", { class: "db" }, "–"), label: el("span", {}, side === "caller" ? "Caller" : "Agent"), box: el("div", { class: `meter ${side}`, "aria-hidden": "true" }, fill) };
    });
    const levels = el("div", { class: "levels" }, ...this.meters.flatMap(({ label, box, db }) => [label, box, db]));
    this.element = el("article", { class: "call", "data-call": callId }, el("div", { class: "call-head" }, this.name, this.clock, this.meta), this.findingText, levels, this.turns.element, this.flow, this.actions());
  }

  summary(call) {
    this.call = { ...this.call, ...call };
    this.since = Date.now() - this.call.duration_seconds * 1000;
    this.name.replaceChildren(...who(this.call));
    this.element.setAttribute("aria-label", `Call from ${party(this.call.from)}`);
    this.meta.replaceChildren(...metaOf(this.call));
    this.clock.dataset.state = this.call.state;
    this.audio(this.call.audio);
    this.tick();
  }

  detail(call) {
    this.summary(call);
    call.turns.forEach((turn) => this.turns.turn(turn));
    this.quality(call.quality);
  }

  tick() {
    const { state } = this.call;
    this.clock.textContent = state === "active" ? duration(Math.max(0, Math.round((Date.now() - this.since) / 1000))) : state;
  }

  turn(turn) {
    this.turns.turn(turn);
  }

  partial(text) {
    this.turns.partial(text);
  }

  speaking(speaking) {
    this.meters[0].label.classList.toggle("speaking", speaking);
  }

  audio(audio) {
    this.findingText.hidden = !audio?.finding;
    this.findingText.textContent = audio?.finding ?? "";
  }

  levels({ caller_db: caller, agent_db: agent }) {
    [caller, agent].forEach((db, side) => {
      this.meters[side].fill.style.transform = `scaleX(${share(db).toFixed(3)})`;
      this.meters[side].db.textContent = db <= -60 ? "silent" : `${Math.round(db)} dB`;
    });
  }

  quality(quality) {
    this.flow.hidden = !quality.packets_received;
    this.flow.replaceChildren(...flowOf(quality));
  }

  actions() {
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const run = async (button, what) => {
      button.disabled = true;
      problem.hidden = true;
      try {
        await what();
      } catch (error) {
        problem.textContent = error.message;
        problem.hidden = false;
      }
      button.disabled = false;
    };
    const form = (label, placeholder, verb, submit) => {
      const input = el("input", { "aria-label": label, placeholder, autocomplete: "off" });
      const button = el("button", { type: "submit" }, verb);
      const form = el("form", {}, input, button);
      form.addEventListener("submit", (event) => {
        event.preventDefault();
        const text = input.value.trim();
        if (!text) return input.focus();
        run(button, async () => {
          await submit(text);
          input.value = "";
        });
      });
      return form;
    };
    const say = form("Have the agent say", "Have the agent say…", "Say", (text) => this.act("POST", this.callId, "/say", { text }));
    const transfer = form("Transfer the caller to", "Transfer to sip:…", "Transfer", (to) => {
      const uri = /^(sips?|tel):/i.test(to) ? to : `sip:${to}`;
      return this.act("POST", this.callId, "/transfer", { to: uri });
    });
    this.hear = el("button", { type: "button", "aria-pressed": "false" }, "Listen");
    this.hear.addEventListener("click", () => this.toggleListening(problem));
    const hangUp = el("button", { type: "button", class: "danger", "data-action": "hang-up" }, "Hang up");
    hangUp.addEventListener("click", () => run(hangUp, () => this.act("DELETE", this.callId, "")));
    return el("div", { class: "actions" }, this.hear, hangUp, say, transfer, problem);
  }

  toggleListening(problem) {
    if (this.stop) return this.stop();
    problem.hidden = true;
    this.hear.setAttribute("aria-pressed", "true");
    this.hear.textContent = "Listening";
    this.stop = listen(this.callId, (reason) => {
      this.stop = null;
      this.hear.setAttribute("aria-pressed", "false");
      this.hear.textContent = "Listen";
      problem.textContent = reason;
      problem.hidden = !reason || reason === "Call ended";
    });
  }

  remove() {
    this.stop?.();
    this.element.remove();
  }
}

// A call that is over: a line, which opens to what was said.
export class PastCall {
  constructor(call) {
    const ended = call.ended ? `ended by the ${call.ended.by}: ${call.ended.reason}` : "";
    const summary = el(
      "summary",
      {},
      el("span", { class: "who" }, ...who(call)),
      el("span", { class: "clock" }, duration(call.duration_seconds)),
      el("span", { class: "meta" }, el("span", {}, clock(call.started_at)), el("span", {}, ended)),
    );
    this.element = el("details", { class: "call", "data-call": call.call_id }, summary);
    this.element.addEventListener("toggle", () => this.read(call.call_id), { once: true });
  }

  async read(callId) {
    const call = await ask("GET", `/api/v1/sip/calls/${encodeURIComponent(callId)}`).catch(() => null);
    if (!call) return this.element.append(el("p", { class: "flow" }, "Nothing more is known of it."));
    const meta = el("div", { class: "flow" }, ...metaOf(call));
    const turns = new Turns();
    call.turns.forEach((turn) => turns.turn(turn));
    if (!call.turns.length) turns.element.hidden = true;
    const flow = el("div", { class: "flow" }, ...flowOf(call.quality));
    this.element.append(meta, turns.element, flow);
    const replay = call.recording ? await player(callId).catch(() => null) : null;
    if (replay) meta.after(replay);
  }

  remove() {
    this.element.remove();
  }
}

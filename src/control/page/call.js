// A live call on the page, with all that it does and what can be done about it.

import { failureOf, fileButton, fileOf, flowOf, metaOf, who } from "./facts.js";
import { listen } from "./listen.js";
import { Turns } from "./turns.js";
import { duration, el, fill, party, share, write } from "./view.js";

export class CallCard {
  constructor(callId, act, records) {
    this.callId = callId;
    this.act = act;
    this.records = records;
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
    this.name.title = `${this.call.from} to ${this.call.to}`;
    this.element.setAttribute("aria-label", `Call from ${party(this.call.from)}`);
    this.meta.replaceChildren(...metaOf(this.call));
    this.clock.dataset.state = this.call.state;
    this.audio(this.call.audio);
    this.tick();
  }

  detail(call) {
    this.turns.providers = call.providers;
    this.summary(call);
    if (call.pcap) this.showPackets();
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
    write(this.findingText, audio?.finding ?? "");
  }

  levels({ caller_db: caller, agent_db: agent }) {
    [caller, agent].forEach((db, side) => {
      this.meters[side].fill.style.transform = `scaleX(${share(db).toFixed(3)})`;
      this.meters[side].db.textContent = db <= -60 ? "silent" : `${Math.round(db)} dB`;
    });
  }

  failed(event) {
    this.turns.remark(failureOf(event));
  }

  // The engine is not there (or is again): what is shown was last known, and nothing can be done.
  gone(gone) {
    this.deeds.inert = gone;
    if (!gone) return;
    this.levels({ caller_db: -Infinity, agent_db: -Infinity });
    this.speaking(false);
  }

  quality(quality) {
    this.flow.hidden = !quality.packets_received;
    fill(this.flow, ...flowOf(quality));
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
    this.hear = el("button", { type: "button", "aria-pressed": "false", title: "Hear the call in this browser: caller left, agent right" }, "Listen");
    this.hear.addEventListener("click", () => this.toggleListening(problem));
    const hangUp = el("button", { type: "button", class: "danger", "data-action": "hang-up" }, "Hang up");
    hangUp.addEventListener("click", () => run(hangUp, () => this.act("DELETE", this.callId, "")));
    this.deeds = el("div", { class: "actions" }, this.hear, this.packets(problem, run), hangUp, say, transfer, problem);
    return this.deeds;
  }

  // Begins a packet capture, and from then on is where it is to be had.
  packets(problem, run) {
    const button = el("button", { type: "button", "data-action": "capture", "aria-label": "Capture packets" }, "Capture");
    button.title = this.records() ? "Write this call’s SIP messages and media packets to a file for Wireshark, from here on" : "Needs a folder for records: set OFFHOOK_RECORDS";
    button.setAttribute("aria-disabled", String(!this.records()));
    button.addEventListener("click", () => run(button, async () => {
      await this.act("POST", this.callId, "/packets.pcap");
      this.showPackets();
    }));
    this.showPackets = () => {
      const path = `/api/v1/sip/calls/${encodeURIComponent(this.callId)}/packets.pcap`;
      const file = fileButton(path, "Packets", fileOf(this.call, "packets.pcap"), problem);
      file.dataset.action = "packets";
      const had = document.activeElement === button;
      if (button.isConnected) button.replaceWith(file);
      if (had) file.focus();
    };
    return button;
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

// One turn's time as a waterfall: its stages in their order, what a draft saved, and the total, which is their sum.

import { el, ms } from "./view.js";

export const STAGES = [
  ["ingress", "Ingress", "packet in to audio at the recogniser"],
  ["end_of_turn", "End of turn", "the recogniser, with the silence it needs"],
  ["decision", "Decision", "end of turn to request written"],
  ["llm", "LLM", "request to first useful token"],
  ["tools", "Tools", "what the model had called, until it was asked again"],
  ["clause", "Clause", "first token to text at the voice"],
  ["tts", "TTS", "text to first audio"],
  ["egress", "Egress", "audio to its packet on the wire"],
  ["unexplained", "Unexplained", "what no stage accounts for"],
];

function spans(turn) {
  let at = 0;
  return STAGES.map(([key, name, what]) => {
    const cost = turn.latency_ms[key] ?? 0;
    const span = { key, name, what, cost, at };
    at += cost;
    return span;
  });
}

// What was going on before the turn had ended, and is not waited for.
const savedBy = (turn) => (turn.speculation?.outcome === "hit" ? turn.speculation.saved_ms : 0);

// The waterfall of a turn; `open` keeps which turns show their steps, so that a redrawn one stays as it was.
export function waterfall(turn, key, open) {
  const { total } = turn.latency_ms;
  const saved = savedBy(turn);
  const scale = Math.max(total + saved, 1);
  const parts = spans(turn);
  const note = el("div", { class: "fall-note" });
  const shown = parts.filter(({ cost }) => cost >= 0.05);
  const legend = (lit) => {
    const one = ({ key, name, cost }) =>
      el("span", { class: lit === key ? "lit" : "" }, el("i", { class: `key s-${key}` }), `${name} ${ms(cost)}`);
    const largest = [...shown].sort((a, b) => b.cost - a.cost).slice(0, 3).map(({ key }) => key);
    const listed = shown.filter(({ key }) => lit === key || (!lit && largest.includes(key)));
    note.replaceChildren(...listed.map(one));
    if (lit && lit !== "saved") note.append(el("span", {}, parts.find((part) => part.key === lit).what));
    if (saved && (!lit || lit === "saved")) {
      note.append(el("span", { class: lit ? "lit" : "" }, el("i", { class: "key saved" }), `a draft saved ${ms(saved)}`));
    }
    if (!lit && turn.speculation?.outcome === "miss") note.append(el("span", {}, "a draft was thrown away"));
    if (!lit) note.append(toggle);
  };
  const toggle = el("button", { type: "button", class: "link", "aria-expanded": String(open.has(key)) }, "all stages");
  const steps = el("div", { class: "steps", hidden: !open.has(key) });
  steps.append(...parts.map((part) => step(part, scale)));
  toggle.addEventListener("click", () => {
    const opens = !open.has(key);
    if (opens) open.add(key);
    else open.delete(key);
    steps.hidden = !opens;
    toggle.setAttribute("aria-expanded", String(opens));
  });
  const bar = (key, label, cost) => {
    const bar = el("button", { type: "button", class: key === "saved" ? "bar saved" : `bar s-${key}`, "aria-label": label, title: label });
    bar.style.width = `${(100 * cost) / scale}%`;
    for (const event of ["mouseenter", "focus"]) bar.addEventListener(event, () => legend(key));
    for (const event of ["mouseleave", "blur"]) bar.addEventListener(event, () => legend(null));
    return bar;
  };
  const bars = el("div", { class: "bars", role: "group", "aria-label": `Waterfall of turn ${turn.turn}: ${ms(total)} in all` });
  bars.append(...shown.map(({ key, name, cost }) => bar(key, `${name}: ${ms(cost)}`, cost)));
  if (saved) bars.append(bar("saved", `A draft saved ${ms(saved)}`, saved));
  bars.style.setProperty("--span", String(scale));
  legend(null);
  const sum = el("p", { class: "fall-total" }, Math.round(total).toLocaleString("en"), el("small", {}, " ms"));
  return el("div", { class: "fall", "data-total": String(total), "data-span": String(scale) }, bars, sum, note, steps);
}

function step({ key, name, what, cost, at }, scale) {
  const mark = el("i", { class: `s-${key}` });
  mark.hidden = cost < 0.05;
  mark.style.left = `${(100 * at) / scale}%`;
  mark.style.width = `${(100 * cost) / scale}%`;
  return el("div", { class: "step", title: what }, el("span", {}, name), el("span", { class: "track" }, mark), el("b", {}, ms(cost)));
}

// The stages' medians as one thin bar.
export function medians(stages) {
  const cost = ([key]) => stages[key]?.p50 ?? 0;
  const sum = STAGES.reduce((sum, stage) => sum + cost(stage), 0) || 1;
  const bars = STAGES.filter((stage) => cost(stage) > 0).map((stage) => {
    const bar = el("i", { class: `s-${stage[0]}`, title: `${stage[1]}: ${ms(cost(stage))} median` });
    bar.style.width = `${(100 * cost(stage)) / sum}%`;
    return bar;
  });
  const told = STAGES.filter((stage) => cost(stage) > 0).map((stage) => `${stage[1]} ${ms(cost(stage))}`).join(", ");
  return el("div", { class: "mini", role: "img", "aria-label": `Medians: ${told || "none yet"}` }, ...bars);
}

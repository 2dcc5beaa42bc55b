// One turn's time as a waterfall: its stages in their order, what a draft saved, and the total, which is their sum.

import { el, ms } from "./view.js";

// Key, name, whose time it is (a provider's role, or Offhook's own), and what it is.
export const STAGES = [
  ["ingress", "Ingress", null, "packet in to audio at the recogniser"],
  ["end_of_turn", "End of turn", "stt", "the recogniser, with the silence it needs to be sure"],
  ["decision", "Decision", null, "end of turn to request written"],
  ["llm", "LLM", "llm", "request to first useful token"],
  ["tools", "Tools", "tools", "what the model had called, until it was asked again"],
  ["clause", "Clause", null, "first token to text at the voice"],
  ["tts", "TTS", "tts", "text to first audio"],
  ["egress", "Egress", null, "first audio to its packet on the wire"],
  ["unexplained", "Unexplained", null, "what no stage accounts for"],
];

// Less than this is no bar: it would be thinner than a pixel, and reads 0.0.
const SHOWN_MIN_MS = 0.05;
// More egress than this is no pacing, which takes a slot of 20 ms or two: the audio was there, and was held.
const HELD_MS = 100;
// A reply later than this is slow where no budget is set: callers begin to ask whether anybody is there.
const SLOW_MS = 1_000;

let budget = null;

// Sets what a turn may take: ms, or null where the settings name no budget.
export function setBudget(ms) {
  budget = ms;
}

export const isSlow = (turn) => Boolean(turn.slo_breach) || (!budget && turn.latency_ms?.total > SLOW_MS);

export const nameOf = (stage) => STAGES.find(([key]) => key === stage)?.[1] ?? stage;

export function spans(turn) {
  let at = 0;
  return STAGES.map(([key, name, role, what]) => {
    const cost = turn.latency_ms[key] ?? 0;
    const span = { key, name, role, what: key === "egress" && cost > HELD_MS ? heldFor(turn) : what, cost, at };
    at += cost;
    return span;
  });
}

// Why the first audio was not sent at once.
const heldFor = (turn) => (turn.filler ? "held until the kept words that bridged the wait were over" : "held, as it is while the caller is heard or other words are spoken");

// What was going on before the turn had ended, and is not waited for.
const savedBy = (turn) => (turn.speculation?.outcome === "hit" ? turn.speculation.saved_ms : 0);

const key = (stage) => el("i", { class: `key s-${stage}` });

// The waterfall of a turn; `providers` names who serves each role, and `open` keeps which turns show their steps, so that a redrawn
// one stays as it was.
export function waterfall(turn, providers, open) {
  const { total } = turn.latency_ms;
  const saved = savedBy(turn);
  const scale = Math.max(total + saved, 1);
  const parts = spans(turn);
  const whose = ({ role }) => (role === "tools" ? "your tools" : role ? providers?.[role] ?? "provider" : "Offhook");
  const bars = el("div", { class: "bars", role: "img", "aria-label": `Turn ${turn.turn}: ${ms(total)}, of it ${told(parts)}` });
  const bar = (stage, label, cost) => {
    const bar = el("span", { class: `bar s-${stage}`, title: label, "data-stage": stage });
    bar.style.width = `${(100 * cost) / scale}%`;
    return bar;
  };
  const shown = parts.filter(({ cost }) => cost >= SHOWN_MIN_MS);
  bars.append(...shown.map((part) => bar(part.key, `${part.name}: ${ms(part.cost)} (${whose(part)}: ${part.what})`, part.cost)));
  if (saved) bars.append(bar("saved", `Without the draft the reply would have come here, ${ms(saved)} later`, saved));
  bars.style.setProperty("--span", String(scale));

  const steps = el("div", { class: "steps", hidden: !open.has(turn.turn) }, ...parts.map((part) => step(part, scale, whose(part))), sumOf(parts, total));
  const toggle = el("button", { type: "button", class: "link", "aria-expanded": String(open.has(turn.turn)), "aria-label": `All stages of turn ${turn.turn}` }, "all stages");
  const flip = () => {
    const opens = !open.has(turn.turn);
    if (opens) open.add(turn.turn);
    else open.delete(turn.turn);
    steps.hidden = !opens;
    toggle.setAttribute("aria-expanded", String(opens));
  };
  toggle.addEventListener("click", flip);
  bars.addEventListener("click", flip);
  const slow = isSlow(turn);
  const sum = el("p", { class: slow ? "fall-total slow" : "fall-total" }, Math.round(total).toLocaleString("en"), el("small", {}, " ms"));
  const note = el("div", { class: "fall-note" }, ...legend(turn, parts, saved), toggle);
  const attributes = { class: "fall", "data-total": String(total), "data-span": String(scale), "aria-live": "off" };
  return el("div", attributes, el("div", { class: "track" }, bars), sum, note, steps);
}

const own = (parts) => parts.filter(({ role, key, cost }) => !role && !(key === "egress" && cost > HELD_MS));
const costOf = (parts) => parts.reduce((sum, { cost }) => sum + cost, 0);

function told(parts) {
  const others = parts.filter(({ role, cost }) => role && cost >= SHOWN_MIN_MS).map(({ name, cost }) => `${name} ${ms(cost)}`);
  return [...others, `Offhook ${ms(costOf(parts.filter(({ role }) => !role)))}`].join(", ");
}

// What the bar is made of, in a line: the providers' stages, all that is Offhook's own, and what is worth a word.
function legend(turn, parts, saved) {
  const { slo_breach: breach } = turn;
  const line = [];
  if (breach) {
    const held = breach.stage === "egress" && breach.took_ms > HELD_MS;
    const blame = held ? `held ${ms(breach.took_ms)}` : `${nameOf(breach.stage)} ${breach.usual_ms ? `usually takes ${ms(breach.usual_ms)}` : `took ${ms(breach.took_ms)}`}`;
    const title = `The budget is ${ms(breach.budget_ms)}`;
    line.push(el("span", { class: "slow", title }, `${ms(breach.total_ms - breach.budget_ms)} over budget: ${blame}`));
  } else if (isSlow(turn)) {
    const most = parts.reduce((most, part) => (part.cost > most.cost ? part : most));
    line.push(el("span", { class: "slow" }, `slow: ${most.name} took ${Math.round((100 * most.cost) / turn.latency_ms.total)} %`));
  }
  for (const { key: stage, name, role, cost } of parts) {
    if (cost < SHOWN_MIN_MS) continue;
    const held = stage === "egress" && cost > HELD_MS;
    if (role || held) line.push(el("span", {}, key(stage), `${held ? "Held" : name} ${ms(cost)}`));
  }
  line.push(el("span", {}, key("own"), `Offhook ${ms(costOf(own(parts)))}`));
  if (saved) line.push(el("span", {}, key("saved"), `a draft saved ${ms(saved)}`));
  if (turn.speculation?.outcome === "miss") line.push(el("span", {}, "a draft was thrown away"));
  return line;
}

function step({ key: stage, name, what, cost, at }, scale, whose) {
  const mark = el("i", { class: `s-${stage}` });
  mark.hidden = cost < SHOWN_MIN_MS;
  mark.style.left = `${(100 * at) / scale}%`;
  mark.style.width = `${(100 * cost) / scale}%`;
  const label = el("span", { class: "step-name" }, key(stage), name, el("small", {}, `${whose}: ${what}`));
  return el("div", { class: "step" }, label, el("span", { class: "step-track" }, mark), el("b", {}, ms(cost)));
}

function sumOf(parts, total) {
  const mine = costOf(parts.filter(({ role }) => !role));
  return el("p", { class: "step-sum" }, el("span", {}, `Providers ${ms(total - mine)} + Offhook ${ms(mine)}`), el("b", {}, ms(total)));
}

// The stages' medians as one thin bar.
export function medians(stages) {
  const cost = ([key]) => stages[key]?.p50 ?? 0;
  const shown = STAGES.filter((stage) => cost(stage) >= SHOWN_MIN_MS);
  const sum = shown.reduce((sum, stage) => sum + cost(stage), 0) || 1;
  const bars = shown.map((stage) => {
    const bar = el("i", { class: `s-${stage[0]}`, title: `${stage[1]}: ${ms(cost(stage))} median` });
    bar.style.width = `${(100 * cost(stage)) / sum}%`;
    return bar;
  });
  const told = shown.map((stage) => `${stage[1]} ${ms(cost(stage))}`).join(", ");
  return el("div", { class: "mini", role: "img", "aria-label": `Medians: ${told || "none yet"}` }, ...bars);
}

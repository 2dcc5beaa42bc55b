// The numbers over all calls: how fast replies come, whether the budget is kept, how providers do, and how media flow.

import { medians, nameOf, setBudget } from "./waterfall.js";
import { el, fill, ms, write } from "./view.js";

const WINDOWS = [["last_1m", "Last minute"], ["last_5m", "Last 5 minutes"], ["last_60m", "Last hour"]];
const ROLES = [["stt", "Hears"], ["llm", "Thinks"], ["tts", "Speaks"]];
// What the state of a circuit means for its provider.
const STATES = { closed: "fine", open: "not asked", half_open: "on trial" };

// Draws what `figures`, a status, tells into the places for it; `failures` by role are told where it names none itself.
export function draw(windowsAt, budgetAt, healthAt, factsAt, figures, failures) {
  const latency = figures?.latency;
  fill(windowsAt, ...WINDOWS.map(([key, name]) => windowOf(name, latency?.[key])));
  drawBudget(budgetAt, figures?.slo);
  fill(
    healthAt,
    ...ROLES.flatMap(([role, word]) => {
      const providers = figures?.providers ?? {};
      const line = providers.health?.filter(({ stage }) => stage === role) ?? [];
      // The first of a line is the one that is meant; those behind it stand in.
      const rows = line.length ? line : [{ provider: providers[role] || "—" }];
      return rows.map((one, at) => providerRow(at ? "" : word, one, at ? "" : failures.get(role)));
    }),
  );
  const of = (kind) => latency?.[kind];
  const facts = [
    ["Jitter", of("jitter_ms")?.count ? `${ms(of("jitter_ms").p50)} p50, ${ms(of("jitter_ms").p99)} p99` : "—"],
    ["Pacing error", of("pacing_error_ms")?.count ? `${ms(of("pacing_error_ms").p99)} p99` : "—"],
    ["Barge-in", of("barge_in_ms")?.count ? `${ms(of("barge_in_ms").p50)} p50` : "—"],
    ["Calls answered", figures?.totals?.answered ?? "—"],
    ["Registered phones", figures?.registrations ?? "—"],
  ];
  fill(factsAt, ...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
}

function providerRow(word, health, failure) {
  const { provider, state, asked, failed, first_ms: first, last_error: error } = health;
  const facts = [];
  if (first?.p50) facts.push(`first after ${ms(first.p50)}`);
  if (failed) facts.push(`${failed} of ${asked} failed`);
  if (error || failure) facts.push(error || failure);
  return el(
    "li",
    {},
    el("span", { class: "role" }, word),
    el("span", { class: "name" }, provider),
    el("span", { class: "state", "data-state": state ?? "" }, STATES[state] ?? ""),
    facts.length ? el("span", { class: "why" }, facts.join(" · ")) : null,
  );
}

const turnsOf = (count) => `${count.toLocaleString("en")} ${count === 1 ? "turn" : "turns"}`;

function windowOf(name, { turn_ms: turn, own_path_ms: own, stages_ms: stages } = {}) {
  const count = turn?.count ? turnsOf(turn.count) : "no turns";
  const head = el("h3", {}, name, el("small", {}, count));
  const number = (value) => (!turn?.count ? "–" : value >= 10 ? Math.round(value).toLocaleString("en") : value.toFixed(1));
  const figure = (term, value, title, kind) => el("div", { class: kind, title }, el("dt", {}, term), el("dd", {}, number(value), kind && turn?.count ? el("small", {}, " ms") : null));
  const figures = el(
    "dl",
    { class: "figures" },
    figure("p50", turn?.p50, "Half of the replies came within this", "big"),
    figure("p90", turn?.p90, "Nine of ten replies came within this"),
    figure("p99", turn?.p99, "99 of 100 replies came within this"),
    figure("Offhook", own?.p50, "The median of what is not a provider’s time"),
  );
  return el("article", { class: "window" }, head, figures, medians(stages ?? {}));
}

function drawBudget(budget, slo) {
  budget.hidden = !slo;
  setBudget(slo?.turn_ms ?? null);
  if (!slo) return;
  const percent = (share) => `${Math.round(1000 * share) / 10}\u00a0%`;
  const worst = Object.entries(slo.breaches_by_stage).reduce((worst, entry) => (entry[1] > worst[1] ? entry : worst), ["", 0]);
  const kept = slo.within === null ? "No turns yet" : `Kept by ${percent(slo.within)} of ${turnsOf(slo.turns)}`;
  const blame = slo.breaches ? `; broken ${slo.breaches === 1 ? "once" : `${slo.breaches} times`}, most often by ${nameOf(worst[0])}` : "";
  budget.dataset.met = String(slo.met || slo.within === null);
  write(budget, `Budget: ${ms(slo.turn_ms)} for ${percent(slo.share)} of turns. ${kept}${blame}.`);
}

// The page: what is known of the engine, kept up by its events, and put on the screen.

import { Refused, ask, follow, token } from "./stream.js";
import { CallCard, PastCall } from "./call.js";
import { medians } from "./waterfall.js";
import { el, ms } from "./view.js";

const API = "/api/v1/sip";
// How often the percentiles are read: they move by the minute.
const STATUS_MS = 2_000;
const $ = (id) => document.getElementById(id);

const live = new Map();
const past = new Map();
let status = null;
// The status as it was while the bridge ran last: its figures stand until there are others.
let figures = null;
let gone = false;
// What the providers failed with last, by role, where the status does not tell.
const failures = new Map();

function say(text) {
  $("live").textContent = text;
}

// ---- the engine

function showWhere() {
  const state = gone ? "gone" : status?.status ?? "gone";
  $("where").dataset.state = state;
  const served = status?.transports?.filter(({ error }) => !error).map(({ transport }) => transport.toUpperCase()).join(", ");
  const words = {
    running: `Answering on ${status?.host}:${status?.sip_port}${served ? ` (${served})` : ""}`,
    stopped: "The bridge is stopped",
    gone: "The engine is not there; looking for it…",
  };
  $("where").textContent = words[state] ?? state;
  $("bridge").hidden = state !== "running";
  $("bridge").textContent = "Stop the bridge";
  const notice = gone ? "The engine does not answer. What is shown is what was last known; this page goes on by itself once it is back." : status?.notice;
  $("banner").hidden = !notice;
  $("banner").classList.toggle("bad", gone);
  $("banner").textContent = notice ?? "";
}

function showFields() {
  const host = ["0.0.0.0", "::"].includes(status.host) ? location.hostname : status.host;
  const server = `${host.includes(":") ? `[${host}]` : host}:${status.sip_port}`;
  $("field-server").textContent = server;
  $("field-domain").textContent = server;
  $("field-user").textContent = status.open_mode ? "agent001, or anything" : "one of your [[sip.accounts]]";
  $("field-password").textContent = status.open_mode ? "anything" : "the account’s";
}

function showCalls() {
  const running = status?.status === "running";
  $("stopped").hidden = status?.status !== "stopped" || gone;
  $("empty").hidden = !running || live.size > 0;
  $("calls-count").textContent = live.size ? `${live.size} on the line` : "";
  $("past-count").textContent = past.size ? String(past.size) : "";
  $("past-empty").hidden = past.size > 0;
}

function providerRow(word, health, states, failure) {
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
    el("span", { class: "state", "data-state": state ?? "" }, states[state] ?? ""),
    facts.length ? el("span", { class: "why" }, facts.join(" · ")) : null,
  );
}

function showNumbers() {
  if (status?.latency) figures = status;
  const latency = figures?.latency;
  const windows = [["last_1m", "Last minute"], ["last_5m", "Last 5 minutes"], ["last_60m", "Last hour"]];
  $("windows").replaceChildren(
    ...windows.map(([key, name]) => {
      const { turn_ms: turn, own_path_ms: own, stages_ms: stages } = latency?.[key] ?? {};
      const number = turn?.count ? [Math.round(turn.p50).toLocaleString("en"), el("small", {}, " ms p50")] : [el("small", {}, "no turns")];
      const facts = turn?.count
        ? [`p90 ${ms(turn.p90)}`, `p99 ${ms(turn.p99)}`, `own path ${ms(own.p50)}`]
        : [];
      return el(
        "article",
        { class: "window" },
        el("h3", {}, name, turn?.count ? el("small", {}, ` ${turn.count} ${turn.count === 1 ? "turn" : "turns"}`) : null),
        el("p", { class: "big" }, ...number),
        turn?.count ? medians(stages) : null,
        turn?.count ? el("p", { class: "spread" }, ...facts.map((fact) => el("span", {}, fact))) : null,
      );
    }),
  );
  const roles = [["stt", "Hears"], ["llm", "Thinks"], ["tts", "Speaks"]];
  const states = { closed: "fine", open: "not asked", half_open: "on trial" };
  $("health").replaceChildren(
    ...roles.flatMap(([role, word]) => {
      const providers = figures?.providers ?? {};
      const line = providers.health?.filter(({ stage }) => stage === role) ?? [];
      // The first of a line is the one that is meant; those behind it stand in.
      const rows = line.length ? line : [{ provider: providers[role] || "—" }];
      return rows.map((one, at) => providerRow(at ? "" : word, one, states, at ? "" : failures.get(role)));
    }).flat(),
  );
  const of = (kind) => latency?.[kind];
  const facts = [
    ["Jitter", of("jitter_ms")?.count ? `${ms(of("jitter_ms").p50)} p50, ${ms(of("jitter_ms").p99)} p99` : "—"],
    ["Pacing error", of("pacing_error_ms")?.count ? `${ms(of("pacing_error_ms").p99)} p99` : "—"],
    ["Barge-in", of("barge_in_ms")?.count ? `${ms(of("barge_in_ms").p50)} p50` : "—"],
    ["Calls answered", figures?.totals?.answered ?? "—"],
    ["Registered phones", figures?.registrations ?? "—"],
  ];
  $("media").replaceChildren(...facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
}

async function readStatus() {
  status = await ask("GET", `${API}/status`);
  if (status.status === "running") showFields();
  showWhere();
  showCalls();
  showNumbers();
}

// ---- calls

function addLive(call) {
  past.get(call.call_id)?.remove();
  past.delete(call.call_id);
  let card = live.get(call.call_id);
  if (!card) {
    card = new CallCard(call.call_id, act);
    live.set(call.call_id, card);
    $("calls").append(card.element);
  }
  card.summary(call);
  showCalls();
  return card;
}

function addPast(call, first) {
  if (past.has(call.call_id)) return;
  const row = new PastCall(call);
  past.set(call.call_id, row);
  if (first) $("past").prepend(row.element);
  else $("past").append(row.element);
}

function end(call) {
  live.get(call.call_id)?.remove();
  live.delete(call.call_id);
  addPast(call, true);
  showCalls();
}

async function act(method, callId, action, body) {
  await ask(method, `${API}/calls/${encodeURIComponent(callId)}${action}`, body);
}

async function readCalls() {
  const [now, before] = await Promise.all([ask("GET", `${API}/calls`), ask("GET", `${API}/calls?state=ended`)]);
  const ids = new Set(now.calls.map((call) => call.call_id));
  for (const [id, card] of live) {
    if (!ids.has(id)) {
      card.remove();
      live.delete(id);
    }
  }
  for (const row of past.values()) row.remove();
  past.clear();
  for (const call of before.calls) addPast(call, false);
  for (const call of now.calls) addLive(call);
  showCalls();
  await Promise.all(now.calls.map((call) => readCall(call.call_id)));
}

async function readCall(callId) {
  const call = await ask("GET", `${API}/calls/${encodeURIComponent(callId)}`).catch(() => null);
  if (call) live.get(callId)?.detail(call);
}

// ---- events

const on = {
  "call.ringing": ({ call }) => {
    addLive(call);
    say(`A call rings`);
  },
  "call.answered": ({ call }) => readCall(addLive(call).callId),
  "call.ended": ({ call }) => {
    end(call);
    say(`A call is over`);
  },
  "caller.speaking": (event) => live.get(event.call_id)?.speaking(event.speaking),
  "transcript.partial": (event) => live.get(event.call_id)?.partial(event.caller),
  turn: (event) => live.get(event.call_id)?.turn(event.turn),
  audio: (event) => live.get(event.call_id)?.audio(event.audio),
  levels: (event) => live.get(event.call_id)?.levels(event),
  quality: (event) => live.get(event.call_id)?.quality(event.quality),
  "provider.failed": ({ role, failure }) => {
    failures.set(role, failure);
    readStatus().catch(() => {});
  },
  "bridge.started": () => readStatus().catch(() => {}),
  "bridge.stopped": () => readStatus().catch(() => {}),
  lost: () => readCalls().catch(() => {}),
};

async function askForToken() {
  const dialog = $("ask-token");
  $("token-problem").hidden = !token.get();
  token.set("");
  $("where").textContent = "Locked";
  if (!dialog.open) dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  token.set($("token").value.trim());
  $("token").value = "";
}

follow({
  open: async () => {
    gone = false;
    await Promise.all([readStatus(), readCalls()]);
  },
  event: (event) => on[event.type]?.(event),
  gone: () => {
    gone = true;
    showWhere();
    showCalls();
  },
  refused: askForToken,
});

setInterval(() => {
  if (gone || document.hidden || $("ask-token").open) return;
  readStatus().catch((error) => {
    if (error instanceof Refused) return;
    gone = true;
    showWhere();
  });
}, STATUS_MS);
setInterval(() => live.forEach((card) => card.tick()), 1_000);

// ---- what can be done

$("bridge").addEventListener("click", async () => {
  const calls = live.size;
  if (calls && !window.confirm(`Stop the bridge? ${calls === 1 ? "The call" : `All ${calls} calls`} on the line will end.`)) return;
  $("bridge").disabled = true;
  await ask("POST", `${API}/stop`).catch((error) => say(error.message));
  $("bridge").disabled = false;
  await readStatus().catch(() => {});
});

$("start-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const query = new URLSearchParams({ host: $("start-host").value.trim(), port: $("start-port").value.trim() });
  const button = event.target.querySelector("button");
  button.disabled = true;
  $("start-problem").hidden = true;
  try {
    await ask("POST", `${API}/start?${query}`);
    await readStatus();
  } catch (error) {
    $("start-problem").textContent = error.message;
    $("start-problem").hidden = false;
  }
  button.disabled = false;
});

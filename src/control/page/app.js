// The page: what is known of the engine, kept up by its events, and put on the screen.

import { ask, follow, token } from "./stream.js";
import { CallCard } from "./call.js";
import { PastCall } from "./past.js";
import { draw } from "./numbers.js";
import { party, write } from "./view.js";

const API = "/api/v1/sip";
// How often the percentiles are read: they move by the minute.
const STATUS_MS = 2_000;
// As many calls that are over as the engine remembers.
const PAST_MAX = 100;
const $ = (id) => document.getElementById(id);

const live = new Map();
const past = new Map();
let status = null;
// The status as it was while the bridge ran last: its figures stand until there are others.
let figures = null;
let gone = false;
// Whether the engine waits for its token.
let locked = false;
// What the providers failed with last, by role, where the status does not tell.
const failures = new Map();

function say(text) {
  $("live").textContent = text;
}

// ---- the engine

function showWhere() {
  const state = locked ? "locked" : gone ? "gone" : status?.status ?? "gone";
  $("where").dataset.state = state;
  const served = status?.transports?.filter(({ error }) => !error).map(({ transport }) => transport.toUpperCase()).join(", ");
  const words = {
    running: `Answering on ${status?.host}:${status?.sip_port}${served ? ` (${served})` : ""}`,
    stopped: "The bridge is stopped",
    locked: "Locked",
    gone: "The engine is not there; looking for it…",
  };
  write($("where"), words[state] ?? state);
  $("bridge").hidden = state !== "running";
  $("bridge").textContent = "Stop the bridge";
  const notice = gone ? "The engine does not answer. What is shown is what was last known; this page goes on by itself once it is back." : status?.notice;
  $("banner").hidden = !notice;
  $("banner").classList.toggle("bad", gone);
  write($("banner"), notice ?? "");
  document.body.classList.toggle("gone", gone);
  live.forEach((card) => card.gone(gone));
}

function showFields() {
  // Where it is started again, should it be stopped.
  $("start-host").value = status.host;
  $("start-port").value = status.sip_port;
  const host = ["0.0.0.0", "::"].includes(status.host) ? location.hostname : status.host;
  const server = `${host.includes(":") ? `[${host}]` : host}:${status.sip_port}`;
  $("field-server").textContent = server;
  $("field-domain").textContent = server;
  $("field-user").textContent = status.open_mode ? "agent001, or anything" : "one of your [[sip.accounts]]";
  $("field-password").textContent = status.open_mode ? "anything" : "the account’s";
}

function showCalls() {
  const running = status?.status === "running";
  $("stopped").hidden = status?.status !== "stopped" || gone || locked;
  $("empty").hidden = !running || gone || locked || live.size > 0;
  $("absent").hidden = !gone || live.size > 0;
  $("calls-count").textContent = live.size ? `${live.size} on the line` : "";
  document.title = live.size ? `(${live.size}) Offhook` : "Offhook";
  $("past-count").textContent = past.size ? String(past.size) : "";
  $("past-empty").hidden = past.size > 0;
}

function showNumbers() {
  if (status?.latency) figures = status;
  draw($("windows"), $("budget"), $("health"), $("media"), figures, failures);
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
  removePast(call.call_id);
  let card = live.get(call.call_id);
  if (!card) {
    card = new CallCard(call.call_id, act, () => status?.records ?? false);
    live.set(call.call_id, card);
    $("calls").append(card.element);
  }
  card.summary(call);
  showCalls();
  return card;
}

function addPast(call) {
  if (past.has(call.call_id)) return;
  const row = new PastCall(call);
  past.set(call.call_id, row);
  $("past").prepend(row.element);
  if (past.size > PAST_MAX) removePast(past.keys().next().value);
}

function removePast(callId) {
  past.get(callId)?.remove();
  past.delete(callId);
}

function removeLive(callId) {
  const card = live.get(callId);
  // A focus that was on the card is not sent to the top of the page.
  if (card?.element.contains(document.activeElement)) $("calls").focus();
  card?.remove();
  live.delete(callId);
}

function end(call) {
  removeLive(call.call_id);
  addPast(call);
  showCalls();
}

async function act(method, callId, action, body) {
  await ask(method, `${API}/calls/${encodeURIComponent(callId)}${action}`, body);
}

async function readCalls() {
  const [now, before] = await Promise.all([ask("GET", `${API}/calls`), ask("GET", `${API}/calls?state=ended`)]);
  const ids = new Set(now.calls.map((call) => call.call_id));
  for (const id of [...live.keys()].filter((id) => !ids.has(id))) removeLive(id);
  const over = new Set(before.calls.map((call) => call.call_id));
  for (const id of [...past.keys()].filter((id) => !over.has(id))) removePast(id);
  // Those that are there stay as they are, perhaps open; the list is newest first.
  for (const call of before.calls.reverse()) addPast(call);
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
    say(`A call from ${party(call.from)} rings`);
  },
  "call.answered": ({ call }) => readCall(addLive(call).callId),
  "call.ended": ({ call }) => {
    end(call);
    say(`The call from ${party(call.from)} is over`);
  },
  "caller.speaking": (event) => live.get(event.call_id)?.speaking(event.speaking),
  "transcript.partial": (event) => live.get(event.call_id)?.partial(event.caller),
  turn: (event) => live.get(event.call_id)?.turn(event.turn),
  audio: (event) => live.get(event.call_id)?.audio(event.audio),
  levels: (event) => live.get(event.call_id)?.levels(event),
  quality: (event) => live.get(event.call_id)?.quality(event.quality),
  "provider.failed": (event) => {
    failures.set(event.role, event.failure);
    live.get(event.call_id)?.failed(event);
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
  gone = false;
  locked = true;
  showWhere();
  showCalls();
  if (!dialog.open) dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  locked = false;
  token.set($("token").value.trim());
  $("token").value = "";
}

showNumbers();
follow({
  open: async () => {
    // It may be another engine.
    if (gone) {
      figures = null;
      failures.clear();
    }
    gone = false;
    // The budget that the status tells is what turns are drawn by.
    await readStatus();
    await readCalls();
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
  // Whether the engine is there is told by its stream of events alone.
  if (!gone && !locked && !document.hidden) readStatus().catch(() => {});
}, STATUS_MS);
setInterval(() => gone || live.forEach((card) => card.tick()), 1_000);

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

// Asks the server, and follows its events. Events are read by fetch and not by EventSource, which cannot show a token.

const KEY = "offhook-token";
// Twice the server's heartbeat and more: a stream that says nothing for so long is dead.
const SILENCE_MAX_MS = 25_000;
const RETRY_MS = [300, 1000, 2000, 5000];

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
};

export class Refused extends Error {}

function headers(more = {}) {
  return token.get() ? { ...more, Authorization: `Bearer ${token.get()}` } : more;
}

// Asks for JSON. `Refused` where the token is not (or no longer) the right one; other errors carry the server's own words.
export async function ask(method, path, body) {
  const init = { method, headers: headers(body ? { "Content-Type": "application/json" } : {}), cache: "no-store" };
  if (body) init.body = JSON.stringify(body);
  const response = await fetch(path, init);
  if (response.status === 401) throw new Refused("the token is wrong");
  const reply = await response.json().catch(() => ({}));
  if (response.ok) return reply;
  const { detail } = reply;
  throw new Error(Array.isArray(detail) ? detail.map((one) => one.msg).join("; ") : detail ?? `status ${response.status}`);
}

export async function asBlob(path) {
  const response = await fetch(path, { headers: headers() });
  return response.ok ? response.blob() : null;
}

export async function asJson(path) {
  return JSON.parse((await (await asBlob(path))?.text()) ?? "null");
}

// Has the browser save what is at `path` as `name`. Without a token the browser fetches it itself, and holds none of it in memory.
// Returns whether it was there.
export async function download(path, name) {
  const blob = token.get() ? await asBlob(path).catch(() => null) : null;
  if (token.get() && !blob) return false;
  const link = document.createElement("a");
  link.href = blob ? URL.createObjectURL(blob) : path;
  link.download = name;
  link.click();
  if (blob) setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return true;
}

// The protocols by which a WebSocket shows the token: a browser lets a page choose no header.
export function protocols() {
  if (!token.get()) return [];
  const bytes = new TextEncoder().encode(token.get());
  const base64 = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return ["offhook", `offhook.bearer.${base64}`];
}

// Follows the events for as long as the page lives. `on.open` is called before the first event of each connection, `on.event` with
// each event, `on.gone` when the server is not there, `on.refused` when it wants a token, and is waited for.
export async function follow(on) {
  let last = null;
  for (let failures = 0; ; ) {
    const abort = new AbortController();
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => abort.abort(), SILENCE_MAX_MS);
    };
    try {
      alive();
      const init = { headers: headers(last ? { "Last-Event-ID": last } : {}), cache: "no-store", signal: abort.signal };
      const response = await fetch("/api/v1/events", init);
      if (response.status === 401) {
        await on.refused();
        continue;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      failures = 0;
      await on.open();
      for await (const { id, data } of messages(response.body, alive)) {
        if (id) last = id;
        on.event(JSON.parse(data));
      }
      throw new Error("the stream has ended");
    } catch {
      on.gone();
    } finally {
      clearTimeout(watchdog);
      abort.abort();
    }
    await new Promise((later) => setTimeout(later, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]));
  }
}

// Cuts a stream into its messages (HTML Standard, interpretation of an event stream; this server ends lines by LF).
async function* messages(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const message = { id: "", data: "" };
      for (const line of text.slice(0, end).split("\n")) {
        if (line.startsWith("id: ")) message.id = line.slice(4);
        if (line.startsWith("data: ")) message.data = line.slice(6);
      }
      if (message.data) yield message;
    }
  }
}

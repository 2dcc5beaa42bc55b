// A call that is over: a line, which opens to what was said, how fast, and its recording, all on one timeline.

import { Turns } from "./turns.js";
import { ask, asBlob, asJson } from "./stream.js";
import { failureOf, fileButton, fileOf, flowOf, metaOf, who } from "./facts.js";
import { spans } from "./waterfall.js";
import { clock, duration, el } from "./view.js";

// Peaks kept of a recording, each side: more than a wide screen has pixels.
const PEAKS = 2_400;
// The least width of a waterfall in the waveform, in CSS pixels: it has to be seen in a call of an hour, too.
const FALL_MIN_PX = 3;

const dark = matchMedia("(prefers-color-scheme: dark)");

export class PastCall {
  constructor(call) {
    const ended = call.ended ? `ended by the ${call.ended.by}: ${call.ended.reason}` : "";
    const summary = el(
      "summary",
      {},
      el("span", { class: "who", title: `${call.from} to ${call.to}` }, ...who(call)),
      el("span", { class: "clock" }, duration(call.duration_seconds)),
      el("span", { class: "meta" }, el("span", {}, clock(call.started_at)), el("span", {}, ended)),
    );
    this.element = el("details", { class: "call", "data-call": call.call_id }, summary);
    this.element.addEventListener("toggle", () => this.read(call.call_id), { once: true });
    this.over = new AbortController();
  }

  async read(callId) {
    const path = `/api/v1/sip/calls/${encodeURIComponent(callId)}`;
    const call = await ask("GET", path).catch(() => null);
    if (!call) return this.element.append(el("p", { class: "flow" }, "Nothing more is known of it."));
    const meta = el("div", { class: "flow" }, ...metaOf(call));
    const turns = new Turns();
    turns.providers = call.providers;
    turns.follows = false;
    call.turns.forEach((turn) => turns.turn(turn));
    const failures = failuresOf(call.failures).map((text) => el("p", { class: "finding" }, text));
    const kept = [["recording.wav", "Recording", call.recording], ["transcript.json", "Transcript", call.transcript], ["packets.pcap", "Packets", call.pcap]];
    const problem = el("p", { class: "problem", role: "alert", hidden: true });
    const links = kept.filter(([, , there]) => there).map(([file, name]) => fileButton(`${path}/${file}`, name, fileOf(call, file), problem));
    const files = el("div", { class: "actions" }, ...(links.length ? links : [el("span", { class: "faint" }, "Nothing of it was kept: OFFHOOK_RECORDS names a folder for recordings.")]), problem);
    this.element.append(meta, ...failures, turns.element, el("div", { class: "flow" }, ...flowOf(call.quality)), files);
    const replay = call.recording ? await player(path, call, turns, this.over.signal).catch(() => null) : null;
    if (replay) meta.after(replay);
  }

  remove() {
    this.over.abort();
    this.element.remove();
  }
}

// What providers failed with, each in a line, with how often.
function failuresOf(failures) {
  const counts = new Map();
  for (const one of failures) counts.set(failureOf(one), (counts.get(failureOf(one)) ?? 0) + 1);
  return [...counts].map(([text, count]) => (count > 1 ? `${text} (${count} times)` : text));
}

// The recording with its waveform, in which the turns' waterfalls stand where they were waited for.
async function player(path, call, turns, over) {
  const [blob, transcript] = await Promise.all([asBlob(`${path}/recording.wav`), call.transcript ? asJson(`${path}/transcript.json`) : null]);
  const sound = blob && peaksOf(await blob.arrayBuffer());
  if (!sound) return null;
  const audio = el("audio", { controls: true, preload: "metadata", "aria-label": "Recording: caller left, agent right" });
  audio.src = URL.createObjectURL(blob);
  over.addEventListener("abort", () => URL.revokeObjectURL(audio.src));
  const canvas = el("canvas", { role: "img", "aria-label": "Waveform: caller above, agent below; between them, in the stages’ colours, what the caller waited" });
  const cursor = el("i", { class: "cursor" });
  const wave = el("div", { class: "wave" }, canvas, cursor);
  const lines = transcript?.turns ?? [];
  const falls = fallsOf(lines, call.turns);
  const seek = (at) => {
    audio.currentTime = at;
    audio.play().catch(() => {});
  };
  const move = () => {
    cursor.style.left = `${(100 * audio.currentTime) / sound.seconds}%`;
    turns.playing(audio.paused && !audio.currentTime ? -1 : audio.currentTime);
  };
  turns.time(lines, seek);
  audio.addEventListener("timeupdate", move);
  audio.addEventListener("seeked", move);
  canvas.addEventListener("click", (event) => (audio.currentTime = (event.offsetX / canvas.clientWidth) * sound.seconds));
  const draw = () => waveform(canvas, sound, falls);
  new ResizeObserver(draw).observe(canvas);
  dark.addEventListener("change", draw, { signal: over });
  return el("div", { class: "player" }, wave, audio);
}

// Where each waterfall stands in the recording: it ends where the reply begins.
function fallsOf(lines, turns) {
  const begins = new Map(lines.filter(({ who, from_s: from }) => who === "agent" && from !== null).map(({ turn, from_s: from }) => [turn, from]));
  const timed = turns.filter((turn) => turn.latency_ms && begins.has(turn.turn));
  return timed.map((turn) => ({ to: begins.get(turn.turn), total: turn.latency_ms.total / 1_000, parts: spans(turn) }));
}

// The loudest sample of each of `PEAKS` parts of a recording's two sides (RIFF, 16-bit PCM), and how long it is. It is not decoded
// whole, which would take eight bytes for each of its samples' two.
function peaksOf(bytes) {
  const view = new DataView(bytes);
  const name = (at) => String.fromCharCode(...new Uint8Array(bytes, at, 4));
  let [at, rate] = [12, 8_000];
  while (at + 8 <= bytes.byteLength && name(at) !== "data") {
    if (name(at) === "fmt ") rate = view.getUint32(at + 12, true);
    at += 8 + view.getUint32(at + 4, true);
  }
  if (at + 8 >= bytes.byteLength) return null;
  const frames = (bytes.byteLength - at - 8) >> 2;
  const pcm = new Int16Array(bytes, at + 8, 2 * frames);
  const sides = [new Float32Array(PEAKS), new Float32Array(PEAKS)];
  for (let n = 0; n < frames; n += 1) {
    const place = Math.floor((n * PEAKS) / frames);
    for (const side of [0, 1]) sides[side][place] = Math.max(sides[side][place], Math.abs(pcm[2 * n + side]) / 32_768);
  }
  return { sides, seconds: frames / rate };
}

function waveform(canvas, { sides, seconds }, falls) {
  const [wide, high] = [canvas.clientWidth, canvas.clientHeight];
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(wide * dense);
  canvas.height = Math.round(high * dense);
  const paint = canvas.getContext("2d");
  paint.scale(dense, dense);
  const style = getComputedStyle(document.documentElement);
  const middle = high / 2;
  [["--caller", -1], ["--agent", 1]].forEach(([colour, direction], side) => {
    paint.fillStyle = style.getPropertyValue(colour);
    for (let x = 0; x < wide; x += 1) {
      const [from, to] = [Math.floor((x * PEAKS) / wide), Math.ceil(((x + 1) * PEAKS) / wide)];
      const peak = Math.max(...sides[side].subarray(from, to));
      // Speech is quiet for most of the time; the root shows it, too.
      paint.fillRect(x, middle, 1, direction * Math.max(0.5, Math.sqrt(peak) * (middle - 4)));
    }
  });
  for (const { to, total, parts } of falls) {
    const width = Math.max(FALL_MIN_PX, (total / seconds) * wide);
    const left = (to / seconds) * wide - width;
    for (const { key, cost, at } of parts) {
      paint.fillStyle = style.getPropertyValue(`--${key}`);
      paint.fillRect(left + (at / 1_000 / total) * width, middle - 5, (cost / 1_000 / total) * width, 10);
    }
  }
}

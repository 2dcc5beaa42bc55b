// Listening to a call: live over the WebSocket, and afterwards its recording with a waveform.

import { asBlob, protocols } from "./stream.js";
import { el } from "./view.js";

const RATE = 16_000;
// How far the sound is kept behind the network: three frames, which a local network never needs.
const LEAD_S = 0.06;
// More than this behind, and what waits is left out: it is a live call.
const LAG_MAX_S = 0.4;

// Plays a live call until `stop` or its end, which calls `ended` with a reason.
export function listen(callId, ended) {
  const context = new AudioContext();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/api/v1/sip/audio/${encodeURIComponent(callId)}`, protocols());
  socket.binaryType = "arraybuffer";
  let next = 0;
  socket.onmessage = ({ data }) => {
    const pcm = new DataView(data);
    const samples = pcm.byteLength >> 1;
    const buffer = context.createBuffer(1, samples, RATE);
    const channel = buffer.getChannelData(0);
    for (let n = 0; n < samples; n += 1) channel[n] = pcm.getInt16(2 * n, true) / 32_768;
    const now = context.currentTime;
    if (next < now) next = now + LEAD_S;
    if (next > now + LAG_MAX_S) return;
    const source = context.createBufferSource();
    source.buffer = buffer;
    source.connect(context.destination);
    source.start(next);
    next += samples / RATE;
  };
  let told = false;
  const end = (reason) => {
    if (told) return;
    told = true;
    socket.onmessage = null;
    context.close();
    ended(reason);
  };
  socket.onclose = ({ reason }) => end(reason);
  return () => {
    socket.close();
    end("");
  };
}

// The recording of a call that is over.
export async function player(callId) {
  const blob = await asBlob(`/api/v1/sip/calls/${encodeURIComponent(callId)}/recording.wav`).catch(() => null);
  if (!blob) return null;
  const audio = el("audio", { controls: true, preload: "metadata", "aria-label": "Recording" });
  audio.src = URL.createObjectURL(blob);
  const canvas = el("canvas", { width: 1200, height: 144, role: "img", "aria-label": "Waveform: caller above, agent below" });
  const context = new OfflineAudioContext(2, 1, RATE);
  const sound = await context.decodeAudioData(await blob.arrayBuffer());
  const draw = () => waveform(canvas, sound, audio.currentTime);
  audio.addEventListener("timeupdate", draw);
  canvas.addEventListener("click", (event) => {
    audio.currentTime = (event.offsetX / canvas.clientWidth) * sound.duration;
  });
  draw();
  return el("div", { class: "player" }, canvas, audio);
}

// Peaks of both sides, above and below one line, and where the player is.
function waveform(canvas, sound, at) {
  const style = getComputedStyle(document.documentElement);
  const paint = canvas.getContext("2d");
  const { width, height } = canvas;
  paint.clearRect(0, 0, width, height);
  const sides = [["--caller", 0, -1], ["--agent", Math.min(1, sound.numberOfChannels - 1), 1]];
  for (const [colour, channel, direction] of sides) {
    const pcm = sound.getChannelData(channel);
    const each = pcm.length / width;
    paint.fillStyle = style.getPropertyValue(colour);
    for (let x = 0; x < width; x += 1) {
      let peak = 0;
      for (let n = Math.floor(x * each); n < (x + 1) * each; n += 8) peak = Math.max(peak, Math.abs(pcm[n] ?? 0));
      paint.fillRect(x, height / 2, 1, (direction * peak * height) / 2);
    }
  }
  paint.fillStyle = style.getPropertyValue("--ink");
  paint.fillRect((at / sound.duration) * width, 0, 2, height);
}

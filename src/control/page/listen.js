// Listening to a live call over the WebSocket: the caller left, the agent right.

import { protocols } from "./stream.js";

const RATE = 16_000;
const SIDES = 2;
// How far the sound is kept behind the network: three frames, which a local network never needs.
const LEAD_S = 0.06;
// More than this behind, and what waits is left out: it is a live call.
const LAG_MAX_S = 0.4;

// Plays a live call until `stop` or its end, which calls `ended` with a reason.
export function listen(callId, ended) {
  const context = new AudioContext();
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(`${scheme}//${location.host}/api/v1/sip/audio/${encodeURIComponent(callId)}?channels=${SIDES}`, protocols());
  socket.binaryType = "arraybuffer";
  let next = 0;
  socket.onmessage = ({ data }) => {
    const pcm = new DataView(data);
    const samples = pcm.byteLength / (2 * SIDES);
    const buffer = context.createBuffer(SIDES, samples, RATE);
    for (let side = 0; side < SIDES; side += 1) {
      const channel = buffer.getChannelData(side);
      for (let n = 0; n < samples; n += 1) channel[n] = pcm.getInt16(2 * (SIDES * n + side), true) / 32_768;
    }
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

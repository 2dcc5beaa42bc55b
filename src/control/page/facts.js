// What a live call and a past one both show: who, over what, how well it flows, and the files that are kept of it.

import { download } from "./stream.js";
import { el, ms, party, user } from "./view.js";

// Lost packets, as a share of all, at which concealed G.711 has lost ten points of R (ITU-T G.107 §7.5, Bpl 25.1 of G.113): it is heard.
const LOSS_HEARD = 0.03;

export function flowOf(quality) {
  const facts = [];
  const fact = (name, value, bad) => facts.push(el("span", { class: bad ? "bad" : null }, `${name} `, el("b", {}, value)));
  fact("Jitter", `${ms(quality.jitter_ms.p50)} p50, ${ms(quality.jitter_ms.p99)} p99`);
  const all = quality.packets_received + quality.lost;
  const lost = all ? quality.lost / all : 0;
  fact("Loss", quality.lost ? `${(100 * lost).toFixed(1)}\u00a0% (${quality.lost.toLocaleString("en")} of ${all.toLocaleString("en")})` : "none", lost > LOSS_HEARD);
  if (quality.late) fact("Late", String(quality.late));
  if (quality.concealed_ms) fact("Concealed", ms(quality.concealed_ms));
  fact("Pacing", `${ms(quality.pacing_error_ms.p99)} p99`);
  if (quality.round_trip_ms !== null) fact("Round trip", ms(quality.round_trip_ms));
  if (quality.remote_loss_percent !== null) fact("Loss at the phone", `${quality.remote_loss_percent.toFixed(1)}\u00a0%`, quality.remote_loss_percent > 100 * LOSS_HEARD);
  if (quality.underruns) fact("Underruns", String(quality.underruns));
  return facts;
}

export function who(call) {
  return [party(call.from), el("span", { class: "to" }, ` to ${user(call.to)}`)];
}

export function metaOf(call) {
  const { stt, llm, tts } = call.providers ?? {};
  const facts = [
    [call.source, "where the call comes from"],
    [call.codec, "codec"],
    [call.srtp ? "encrypted" : null, call.srtp],
    [stt ? `${stt}, ${llm}, ${tts}` : null, "who hears, thinks and speaks"],
  ];
  return facts.filter(([fact]) => fact).map(([fact, title]) => el("span", { title }, fact));
}

// A failure of a provider, which its words name.
export const failureOf = ({ role, failure }) => `${role.toUpperCase()} failed: ${failure}`;

// What a file of a call is called once it is downloaded: by the time of the call, since a Call-ID may hold anything.
export function fileOf(call, file) {
  const stamp = call.started_at.replace(/\.\d+/, "").replaceAll(/[^0-9TZ]/g, "");
  return `offhook-${stamp}.${file.split(".").pop()}`;
}

// A file of a call, to be had by a click.
export function fileButton(path, name, as, problem) {
  const button = el("button", { type: "button", class: "file", title: `Download ${as}` }, name);
  button.addEventListener("click", async () => {
    problem.hidden = await download(path, as);
    problem.textContent = "It is not there any more.";
  });
  return button;
}

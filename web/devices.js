/** The microphone and the loudspeaker to use, kept in this browser, and how they are chosen in the settings. */

import { text } from "./texts.js";

const STORE = "parley.devices";
/** @type {Set<(id: string) => void>} */
const listeners = new Set();
let chosen = read();

/** Id of the chosen microphone; "" for the browser's own choice. */
export const microphone = () => chosen.microphone;
/** Id of the chosen loudspeaker; "" for the browser's own choice. */
export const loudspeaker = () => chosen.loudspeaker;

/**
 * Let an element or an AudioContext play on the chosen loudspeaker, now and after each change, where browsers can.
 * @returns {() => void} ends this
 */
export function follow(player) {
  if (!player.setSinkId) return () => {};
  const apply = (id) => player.setSinkId(id).catch(() => {}); // it was unplugged: the browser's own choice stays
  if (chosen.loudspeaker) apply(chosen.loudspeaker);
  listeners.add(apply);
  return () => listeners.delete(apply);
}

/** Fill and follow the two fields of the settings. @param {HTMLFormElement} form */
export function chooseDevices(form) {
  const fields = { audioinput: form.elements.microphone, audiooutput: form.elements.loudspeaker_device };
  const canChoose = "setSinkId" in HTMLMediaElement.prototype;
  fields.audiooutput.closest("label").hidden = !canChoose;
  form.querySelector("#device-part").hidden = !canChoose || "setSinkId" in AudioContext.prototype;
  const fill = async () => {
    const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    // Browsers tell names and ids only once the microphone was allowed.
    const known = devices.filter(({ deviceId, label }) => label && !["", "default", "communications"].includes(deviceId));
    for (const [kind, select] of Object.entries(fields)) {
      const wanted = kind === "audioinput" ? chosen.microphone : chosen.loudspeaker;
      const options = known.filter((device) => device.kind === kind).map(({ deviceId, label }) => new Option(label, deviceId));
      select.replaceChildren(new Option(text("deviceSystem"), ""), ...options);
      select.value = options.some(({ value }) => value === wanted) ? wanted : "";
    }
    form.querySelector("#devices-unknown").hidden = Boolean(known.length);
  };
  const keep = (name, select) =>
    select.addEventListener("change", (event) => {
      event.stopPropagation(); // it is not a setting of conversations
      chosen = { ...chosen, [name]: select.value }; // the other one may be unplugged now, and is then not among the options
      localStorage.setItem(STORE, JSON.stringify(chosen));
      if (name === "loudspeaker") for (const listener of listeners) listener(chosen.loudspeaker);
    });
  keep("microphone", fields.audioinput);
  keep("loudspeaker", fields.audiooutput);
  navigator.mediaDevices?.addEventListener?.("devicechange", fill);
  document.getElementById("settings").addEventListener("toggle", fill);
  fill();
}

function read() {
  try {
    const { microphone = "", loudspeaker = "" } = JSON.parse(localStorage.getItem(STORE)) ?? {};
    return { microphone: String(microphone), loudspeaker: String(loudspeaker) };
  } catch {
    return { microphone: "", loudspeaker: "" };
  }
}

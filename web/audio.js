/** The page's one AudioContext, with both worklets loaded. It rests while nothing is heard. */

import { follow } from "./devices.js";

/** Time without sound after which it rests: while it runs, also in silence, processor and sound card stay awake. */
const REST_MS = 10_000;
/** @type {Promise<AudioContext> | undefined} */
let opening;
/** @type {AudioContext | undefined} */
let context;
let awake = false;
let resting;
/** What always needs it, such as the open microphone. @type {Set<object>} */
const users = new Set();

/** Whether this page can use microphone and worklets: browsers allow them on secure pages only. */
export const possible = () =>
  window.isSecureContext && "AudioWorkletNode" in window && Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Open the AudioContext. Call this in the handler of a press: browsers keep a page silent before the first press.
 * @returns {Promise<AudioContext>}
 */
export async function openAudio() {
  opening ??= load().catch((error) => {
    opening = undefined;
    throw error;
  });
  await opening;
  wake();
  return context;
}

/** Let the AudioContext run, and rest later. Call this whenever sound is played. */
export function wake() {
  awake = true;
  clearTimeout(resting);
  resting = setTimeout(rest, REST_MS);
  if (context && context.state !== "running") context.resume().catch(() => {}); // without a press it stays pending
}

/** Keep the AudioContext from resting. @param {object} user */
export function keepAwake(user) {
  users.add(user);
  wake();
}

/** @param {object} user that needs it no longer */
export function letRest(user) {
  users.delete(user);
  wake();
}

function rest() {
  if (users.size) return; // `letRest` waits again
  awake = false;
  context?.suspend();
}

async function load() {
  const made = new AudioContext({ latencyHint: "interactive" });
  const modules = ["./capture-worklet.js", "./playback-worklet.js"];
  await Promise.all(modules.map((module) => made.audioWorklet.addModule(new URL(module, import.meta.url).href)));
  follow(made);
  // Phones stop the sound during a call.
  made.addEventListener("statechange", () => {
    if (awake && !["running", "closed"].includes(made.state)) made.resume().catch(() => {}); // the next press tries again
  });
  context = made;
  return made;
}

/** The page's one AudioContext, with both worklets loaded. */

import { follow } from "./devices.js";

/** @type {Promise<AudioContext> | undefined} */
let opening;

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
  const context = await opening;
  if (context.state !== "running") context.resume(); // not awaited: without a press it stays pending
  return context;
}

async function load() {
  const context = new AudioContext({ latencyHint: "interactive" });
  const modules = ["./capture-worklet.js", "./playback-worklet.js"];
  await Promise.all(modules.map((module) => context.audioWorklet.addModule(new URL(module, import.meta.url).href)));
  follow(context);
  // Phones stop the sound during a call.
  context.addEventListener("statechange", () => {
    if (!["running", "closed"].includes(context.state)) context.resume().catch(() => {}); // the next press tries again
  });
  return context;
}

/** The page's one AudioContext, with both worklets loaded. */

/** @type {Promise<AudioContext> | undefined} */
let opening;

/** What of sound this page may use: browsers give microphone and worklets to secure pages only. */
export const possible = () =>
  window.isSecureContext && "AudioWorkletNode" in window && Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Call it in the handler of a press: before the first one, browsers keep a page silent.
 * @returns {Promise<AudioContext>}
 */
export async function openAudio() {
  opening ??= load().catch((error) => {
    opening = undefined;
    throw error;
  });
  const context = await opening;
  if (context.state !== "running") context.resume(); // not awaited: it waits for a press where there was none
  return context;
}

async function load() {
  const context = new AudioContext({ latencyHint: "interactive" });
  const modules = ["./capture-worklet.js", "./playback-worklet.js"];
  await Promise.all(modules.map((module) => context.audioWorklet.addModule(new URL(module, import.meta.url).href)));
  return context;
}

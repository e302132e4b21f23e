/**
 * A program with OpenAI's Agents SDK, as its documentation shows it. `talk` runs it in the page, `say` speaks into its
 * microphone, and `seen` is what came.
 */

import {
  OpenAIRealtimeWebRTC,
  OpenAIRealtimeWebSocket,
  RealtimeAgent,
  RealtimeSession,
  tool,
} from "@openai/agents-realtime";
import { z } from "zod";

const RATE_HZ = 24000;

globalThis.talk = async (service, secret, transport) => {
  const seen = (globalThis.seen = { cities: [], kinds: [], errors: [], history: [], cancelled: [], interruptions: 0, loudest: 0 });
  const loud = (samples) => (seen.loudest = samples.reduce((most, one) => Math.max(most, Math.abs(one)), seen.loudest));
  const weather = tool({
    name: "get_weather",
    description: "The weather in a city.",
    parameters: z.object({ city: z.string() }),
    execute: async ({ city }) => {
      seen.cities.push(city);
      return `It is sunny in ${city}.`;
    },
  });
  const agent = new RealtimeAgent({ name: "Parley", instructions: "Be brief.", tools: [weather] });
  const mediaStream = openMicrophone();
  const audioElement = document.createElement("audio");
  const layer =
    transport === "webrtc"
      ? new OpenAIRealtimeWebRTC({ baseUrl: `${service}/v1/realtime/calls`, mediaStream, audioElement })
      : new OpenAIRealtimeWebSocket({ url: `${service.replace("http", "ws")}/v1/realtime?model=gpt-realtime` });
  const session = new RealtimeSession(agent, { transport: layer, model: "gpt-realtime" });
  session.on("transport_event", ({ type, response }) => {
    seen.kinds.push(type);
    if (response?.status === "cancelled") seen.cancelled.push(response.status_details.reason);
  });
  session.on("history_updated", (history) => (seen.history = history));
  session.on("audio_interrupted", () => seen.interruptions++);
  session.on("error", ({ error }) => seen.errors.push(JSON.stringify(error?.error ?? String(error))));
  session.on("audio", ({ data }) => loud(Array.from(new Int16Array(data), (one) => one / 32768)));
  await session.connect({ apiKey: secret });
  if (transport === "webrtc") listen(audioElement, loud);
  else speak(session, mediaStream);
  globalThis.session = session;
};

/** Return the stream of a microphone that hears what is said by `say`, and silence otherwise. */
function openMicrophone() {
  const context = new AudioContext();
  const microphone = (globalThis.microphone = context.createMediaStreamDestination());
  const silence = new ConstantSourceNode(context, { offset: 0 });
  silence.connect(microphone);
  silence.start();
  return microphone.stream;
}

/** Say what a WAV file contains. @param {string} wav in base64 */
globalThis.say = async (wav) => {
  const { context } = microphone;
  const source = context.createBufferSource();
  source.buffer = await context.decodeAudioData(Uint8Array.from(atob(wav), (one) => one.charCodeAt(0)).buffer);
  source.connect(microphone);
  source.start();
};

/** Note the loudest sample that the SDK's element plays. */
function listen(element, loud) {
  const context = new AudioContext();
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(element.srcObject).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    loud(samples);
  }, 20);
}

/** Over a WebSocket the program records by itself. */
function speak(session, stream) {
  const context = new AudioContext({ sampleRate: RATE_HZ });
  const node = context.createScriptProcessor(1024, 1, 1);
  node.onaudioprocess = ({ inputBuffer }) => {
    session.sendAudio(Int16Array.from(inputBuffer.getChannelData(0), (one) => one * 32767).buffer);
  };
  context.createMediaStreamSource(stream).connect(node);
  node.connect(context.destination);
}

// Calls every method of OpenAI's client for Node for sound, models, chat and Realtime, and prints the results as JSON.
// Arguments: the service's address, a key, the paths of a recording of a few sentences and of an SDP offer.

import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import OpenAI, { toFile } from "openai";
import { OpenAIRealtimeTranslationWS } from "openai/realtime/translations/ws";
import { OpenAIRealtimeWS } from "openai/realtime/ws";

const [address, key, path, offerPath] = process.argv.slice(2);
const options = { baseURL: `${address}/v1`, apiKey: key, maxRetries: 0, timeout: 120_000 };
const client = new OpenAI(options);
const recording = await readFile(path);
const file = () => toFile(recording, "recording.wav", { type: "audio/wav" });

const methods = [], called = new Set(), told = {};
const isMethod = (object, name) => typeof object[name] === "function" && !/^_|^constructor$/.test(name);
/** Note each call of the methods of an object, from the prototypes up to `last`. */
const note = (object, name, last = Object.prototype) => {
  for (let kind = Object.getPrototypeOf(object); kind && kind !== last; kind = Object.getPrototypeOf(kind)) {
    for (const method of Object.getOwnPropertyNames(kind).filter((one) => isMethod(object, one))) {
      const plain = object[method];
      methods.push(`${name}.${method}`);
      object[method] = (...sent) => {
        called.add(`${name}.${method}`);
        return plain.apply(object, sent);
      };
    }
  }
};
const noteResource = (resource, name) => {
  const parts = Object.entries(resource).filter(([part, inner]) => !part.startsWith("_") && inner?._client);
  for (const [part, inner] of parts) noteResource(inner, `${name}.${part}`);
  note(resource, name);
};
told.resources = Object.keys(client).filter((name) => client[name]?._client).sort();
for (const name of ["audio", "chat", "models", "realtime"]) noteResource(client[name], name);

const { transcriptions, translations, speech, voices, voiceConsents } = client.audio;
const heard = { model: "gpt-transcribe", language: "en" };
told.json = await transcriptions.create({ ...heard, file: createReadStream(path), include: ["logprobs"] });
told.names = await transcriptions.create({ ...heard, file: await file(), keywords: ["Alice"], languages: ["en", "pt"] });
told.verbose = await transcriptions.create({
  ...heard, file: await file(), response_format: "verbose_json", timestamp_granularities: ["word", "segment"],
});
told.srt = await transcriptions.create({ ...heard, file: await file(), response_format: "srt" });
told.events = [];
for await (const event of await transcriptions.create({ ...heard, file: await file(), stream: true })) {
  told.events.push(event);
}
told.translation = await translations.create({ model: "whisper-1", file: await file() });

const said = { model: "gpt-4o-mini-tts", input: "Good morning.", voice: "alloy" };
told.speech = {};
for (const response_format of ["mp3", "opus", "aac", "flac", "wav", "pcm"]) {
  const sound = await (await speech.create({ ...said, response_format })).arrayBuffer();
  told.speech[response_format] = sound.byteLength;
}

told.models = (await client.models.list()).data;
told.model = await client.models.retrieve("whisper-1");

told.consent = await voiceConsents.create({ name: "Maria", language: "pt-PT", recording: await file() });
told.retrieved = await voiceConsents.retrieve(told.consent.id);
told.renamed = await voiceConsents.update(told.consent.id, { name: "Maria João" });
told.consents = [];
for await (const one of voiceConsents.list({ limit: 1 })) told.consents.push(one);
told.voice = await voices.create({ name: "Maria", audio_sample: await file(), consent: told.consent.id });
const own = await speech.create({ ...said, voice: { id: told.voice.id } });
told.speech.own = (await own.arrayBuffer()).byteLength;
told.voice_deleted = await voices.delete(told.voice.id);
told.consent_deleted = await voiceConsents.delete(told.consent.id);

const { completions } = client.chat;
const asked = (content) => ({ model: "gpt-audio", messages: [{ role: "user", content }] });
const spoken = { modalities: ["text", "audio"], audio: { voice: "alloy", format: "wav" } };
const sound = { type: "input_audio", input_audio: { data: recording.toString("base64"), format: "wav" } };
const mood = { type: "object", properties: { mood: { type: "string" }, degrees: { type: "integer" } } };
const json = { type: "json_schema", json_schema: { name: "mood", schema: mood } };
const light = { name: "light", parse: JSON.parse, parameters: { type: "object" }, function: ({ on }) => `on: ${on}` };
told.chat = await completions.create(asked("Hello."));
told.heard = await completions.create(asked([sound]));
told.spoken = await completions.create({ ...asked("Hello."), ...spoken });
told.chunks = [];
for await (const chunk of await completions.create({ ...asked("Hello."), stream: true })) told.chunks.push(chunk);
told.parsed = (await completions.parse({ ...asked("In JSON."), response_format: json })).choices[0].message.content;
told.streamed = await completions.stream(asked("Hello.")).finalContent();
const run = completions.runTools({ ...asked("Light, please."), tools: [{ type: "function", function: light }] });
told.ran = [await run.finalContent(), await run.finalFunctionToolCallResult()];

const { clientSecrets, calls, translations: live } = client.realtime;
const brief = { type: "realtime", instructions: "Be brief." };
told.secret = await clientSecrets.create({ session: brief });
const spanish = { audio: { output: { language: "es" } } };
told.live_secret = await live.clientSecrets.create({ session: { model: "gpt-realtime-translate", ...spanish } });
const answered = await calls.create({ sdp: await readFile(offerPath, "utf8"), session: brief });
told.answer = await answered.text();
const callId = answered.headers.get("location").split("/").at(-1);
await calls.hangup(callId);

// The client insists on TLS, which a proxy would add; here its connection is a plain one.
const { port, hostname: host } = new URL(address);
const secured = new OpenAI({ ...options, baseURL: `https://${host}:${port}/v1` });
const plain = { options: { createConnection: () => connect({ port, host }) } };
/** Note the methods of a connection, and return the list of its events. */
const listen = (connection, name) => {
  note(connection, name);
  const events = [];
  const removed = () => events.push({ type: "removed" });
  connection.on("error", (error) => events.push({ type: "error", error: error.error ?? String(error) }));
  connection.on("event", (event) => events.push(event));
  connection.on("session.updated", removed);
  connection.off("session.updated", removed);
  connection.once("session.updated", () => events.push({ type: "once" }));
  return events;
};
const talk = await OpenAIRealtimeWS.create(secured, { model: "gpt-realtime", ...plain });
told.talk = listen(talk, "OpenAIRealtimeWS");
await talk.emitted("session.created");
talk.send({ type: "session.update", session: { ...brief, output_modalities: ["text"] } });
await talk.emitted("session.updated");
const hello = { type: "message", role: "user", content: [{ type: "input_text", text: "Hello." }] };
talk.send({ type: "conversation.item.create", item: hello });
talk.sendResponseCreate({ type: "response.create" });
await talk.emitted("response.done");
talk.flushPending();
told.pending = talk.takePending();
talk.close();

const interpreter = await OpenAIRealtimeTranslationWS.create(secured, { model: "gpt-realtime-translate", ...plain });
told.interpreter = listen(interpreter, "OpenAIRealtimeTranslationWS");
await interpreter.emitted("session.created");
interpreter.send({ type: "session.update", session: spanish });
await interpreter.emitted("session.updated");
interpreter.send({ type: "session.input_audio_buffer.append", audio: Buffer.alloc(4800).toString("base64") });
await interpreter.finish({ timeoutMs: 60_000 });
interpreter.close();

const refused = async (call) => {
  try {
    await call();
  } catch (error) {
    return [error.constructor.name, error.status, error.param ?? null, error.code ?? null];
  }
  return null;
};
const stranger = new OpenAI({ ...options, apiKey: "wrong" });
told.refused = [
  await refused(() => stranger.models.list()),
  await refused(() => client.models.retrieve("absent")),
  await refused(async () => transcriptions.create({ file: await file(), model: "absent" })),
  await refused(() => speech.create({ ...said, voice: "absent" })),
  await refused(() => speech.create({ ...said, speed: 9 })),
  await refused(() => voiceConsents.retrieve("cons_absent")),
  await refused(async () => transcriptions.create({ ...heard, file: await toFile(Buffer.from("no sound"), "a.wav") })),
];
const unserved = {
  "models.delete": () => client.models.delete("whisper-1"),
  "chat.completions.retrieve": () => completions.retrieve("absent"),
  "chat.completions.update": () => completions.update("absent", { metadata: {} }),
  "chat.completions.list": () => completions.list(),
  "chat.completions.delete": () => completions.delete("absent"),
  "chat.completions.messages.list": () => completions.messages.list("absent"),
  "realtime.calls.accept": () => calls.accept(callId, { type: "realtime" }),
  "realtime.calls.refer": () => calls.refer(callId, { target_uri: "tel:+14155550123" }),
  "realtime.calls.reject": () => calls.reject(callId),
};
told.unserved = {};
for (const [name, call] of Object.entries(unserved)) {
  told.unserved[name] = await call().then(() => "served", (error) => [error.constructor.name, error.message]);
}
console.log(JSON.stringify({ ...told, methods: methods.sort(), called: [...called].sort() }));

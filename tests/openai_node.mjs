// Calls every method of `client.audio` and `client.models` of OpenAI's client for Node, and prints the results as JSON.
// Arguments: the service's address, a key, the path of a recording of a few sentences.

import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";
import { readFile } from "node:fs/promises";

const [address, key, path] = process.argv.slice(2);
const options = { baseURL: `${address}/v1`, apiKey: key, maxRetries: 0, timeout: 120_000 };
const client = new OpenAI(options);
const recording = await readFile(path);
const file = () => toFile(recording, "recording.wav", { type: "audio/wav" });

const methods = [], called = new Set(), told = {};
for (const [name, resource] of Object.entries({ ...client.audio, models: client.models })) {
  if (!resource || name.startsWith("_")) continue;
  for (const method of Object.getOwnPropertyNames(Object.getPrototypeOf(resource))) {
    if (method === "constructor") continue;
    const plain = resource[method];
    methods.push(`${name}.${method}`);
    resource[method] = (...sent) => {
      called.add(`${name}.${method}`);
      return plain.apply(resource, sent);
    };
  }
}

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
console.log(JSON.stringify({ ...told, methods: methods.sort(), called: [...called].sort() }));

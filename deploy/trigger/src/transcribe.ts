import { createHmac } from "node:crypto";

import { AbortTaskRunError, logger, task } from "@trigger.dev/sdk";

/** The job that Parley posts to MODAL_WEBHOOK_URL (docs/jobs.md). */
export interface Job {
  job_id: string;
  /** Id of this attempt: updates with another one change nothing. */
  attempt: string;
  file_url: string;
  updates_url: string;
  filename: string;
  /** Options, all of which the worker supports. */
  options: {
    /** Model, as in POST /jobs; null: the worker's loaded one. */
    model_id: string | null;
    /** ISO 639-1; null: detect it. */
    language: string | null;
    prompt: string | null;
    words: boolean;
    translate: boolean;
    /** Word times by forced alignment. */
    align: boolean;
    /** Whether to tell speakers apart. */
    diarize: boolean;
    min_speakers: number | null;
    max_speakers: number | null;
    /** Track of a video, from 0; null: the one that a player would take. */
    audio_track: number | null;
  };
}

/** Passes a recording to the worker on Modal, which reports to Parley itself. Retried while unreachable. */
export const transcribe = task({
  id: "transcribe-recording",
  retry: { maxAttempts: 5, factor: 2, minTimeoutInMs: 2_000, maxTimeoutInMs: 60_000, randomize: true },
  run: async (job: Job) => {
    const body = JSON.stringify(job);
    const response = await fetch(setting("MODAL_WEBHOOK_URL"), {
      method: "POST",
      body,
      headers: { "content-type": "application/json", ...modalToken(), ...signature(`job_${job.attempt}`, body) },
      signal: AbortSignal.timeout(30_000),
    });
    if (response.status === 401 || response.status === 403) {
      throw new AbortTaskRunError(`The worker refused the signature or token: ${response.status}`);
    }
    if (!response.ok) throw new Error(`The worker returned ${response.status}`);
    logger.info("passed to the worker", { job: job.job_id });
    return { job_id: job.job_id };
  },
  /** Called after the last attempt: reports the failure, so that Parley does not wait for a timeout. */
  onFailure: async ({ payload }) => {
    const job = payload as Job;
    const error = { code: "worker_lost", message: "The remote worker cannot be reached." };
    const body = JSON.stringify({ job_id: job.job_id, attempt: job.attempt, status: "failed", error });
    await fetch(job.updates_url, {
      method: "POST",
      body,
      headers: { "content-type": "application/json", ...signature(`upd_${job.attempt}_failed`, body) },
      signal: AbortSignal.timeout(30_000),
    });
  },
});

function setting(name: string): string {
  const value = process.env[name];
  if (!value) throw new AbortTaskRunError(`${name} is not set`);
  return value;
}

function modalToken(): Record<string, string> {
  const { MODAL_TOKEN_ID: id, MODAL_TOKEN_SECRET: secret } = process.env;
  return id && secret ? { "Modal-Key": id, "Modal-Secret": secret } : {};
}

/** Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`. */
function signature(id: string, body: string): Record<string, string> {
  const key = Buffer.from(setting("WEBHOOK_SECRET").replace(/^whsec_/, ""), "base64");
  const timestamp = Math.floor(Date.now() / 1000).toString();
  const signed = createHmac("sha256", key).update(`${id}.${timestamp}.${body}`).digest("base64");
  return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,${signed}` };
}

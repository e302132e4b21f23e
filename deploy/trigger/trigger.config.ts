import { defineConfig } from "@trigger.dev/sdk";

/** Needs TRIGGER_PROJECT_ID on the machine that deploys; MODAL_* and WEBHOOK_SECRET in the project's environment. */
export default defineConfig({
  project: process.env.TRIGGER_PROJECT_ID ?? "",
  dirs: ["./src"],
  maxDuration: 300,
});

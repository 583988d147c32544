// Anthropic's own client for JavaScript; streams through its accumulating helper.

import Anthropic from "@anthropic-ai/sdk";
import { apiKey, baseUrl, outputTokensMax, prompt, retriesMax, run } from "./lib.mjs";

const client = new Anthropic({ apiKey, baseURL: baseUrl, maxRetries: retriesMax });

async function messages({ model, stream }, signal, onEvent) {
  const asked = {
    model,
    max_tokens: outputTokensMax,
    messages: [{ role: "user", content: prompt }],
  };
  if (!stream) return client.messages.create(asked, { signal, timeout: 60_000 });
  const helper = client.messages.stream(asked, { signal });
  helper.on("streamEvent", onEvent);
  return helper.finalMessage();
}

await run({ messages }, (error) => ({
  status: error.status ?? null,
  code: error.error?.error?.type ?? null,
  message: error.message,
  ours: error instanceof Anthropic.APIError,
}));

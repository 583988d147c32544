// OpenAI's own client for JavaScript.

import OpenAI from "openai";
import { apiKey, baseUrl, outputTokensMax, prompt, retriesMax, run } from "./lib.mjs";

const client = new OpenAI({ apiKey, baseURL: `${baseUrl}/v1`, maxRetries: retriesMax });

async function collect(stream, onEvent) {
  const events = [];
  for await (const event of stream) {
    events.push(event);
    onEvent();
  }
  return events;
}

async function chat({ model, stream }, signal, onEvent) {
  const asked = {
    model,
    messages: [{ role: "user", content: prompt }],
    max_completion_tokens: outputTokensMax,
  };
  if (!stream) return client.chat.completions.create(asked, { signal });
  const options = { stream: true, stream_options: { include_usage: true } };
  return collect(
    await client.chat.completions.create({ ...asked, ...options }, { signal }),
    onEvent,
  );
}

async function responses({ model, stream }, signal, onEvent) {
  const asked = { model, input: prompt, max_output_tokens: outputTokensMax };
  if (!stream) return client.responses.create(asked, { signal });
  return collect(
    await client.responses.create({ ...asked, stream: true }, { signal }),
    onEvent,
  );
}

await run({ chat, responses }, (error) => ({
  status: error.status ?? null,
  code: error.code ?? null,
  message: error.message,
  ours: error instanceof OpenAI.APIError,
}));

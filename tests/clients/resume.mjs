// The official clients that ask twice under one name, and that come back for the rest.
//
// A case is { id, client, model, name }. `held` is what the client made of the answer:
// { id, text }, and of a response that was left in the middle { numbers, text, types }.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import Anthropic from "@anthropic-ai/sdk";
import { streamText } from "ai";
import OpenAI from "openai";
import { apiKey, baseUrl, outputTokensMax, prompt, retriesMax, run } from "./lib.mjs";

const LEFT_AFTER = 5; // Events of a response: its head, and some text.

const openai = new OpenAI({ apiKey, baseURL: `${baseUrl}/v1`, maxRetries: retriesMax });
const anthropic = new Anthropic({ apiKey, baseURL: baseUrl, maxRetries: retriesMax });
const vercel = createOpenAICompatible({ name: "gateway", apiKey, baseURL: `${baseUrl}/v1` });
const named = (name) => ({ "Idempotency-Key": name });
const asked = [{ role: "user", content: prompt }];

async function chat({ model, name }) {
  const body = { model, messages: asked, stream: true };
  const stream = await openai.chat.completions.create(body, { headers: named(name) });
  const held = { id: null, text: "" };
  for await (const chunk of stream) {
    held.id = chunk.id;
    held.text += chunk.choices[0]?.delta?.content ?? "";
  }
  return held;
}

async function whole({ model, name }) {
  const body = { model, messages: asked };
  const answer = await openai.chat.completions.create(body, { headers: named(name) });
  return { id: answer.id, text: answer.choices[0].message.content };
}

async function messages({ model, name }) {
  const body = { model, max_tokens: outputTokensMax, messages: asked };
  const helper = anthropic.messages.stream(body, { headers: named(name) });
  const answer = await helper.finalMessage();
  return { id: answer.id, text: answer.content.map((block) => block.text ?? "").join("") };
}

async function ai({ model, name }) {
  let failed;
  const answer = streamText({
    model: vercel(model),
    prompt,
    headers: named(name),
    maxRetries: retriesMax,
    onError: ({ error }) => (failed = error),
  });
  await answer.consumeStream();
  if (failed) throw failed;
  return { id: (await answer.response).id, text: await answer.text };
}

async function responses({ model }) {
  const held = { numbers: [], text: "", types: [] };
  const take = (event) => {
    held.numbers.push(event.sequence_number);
    held.types.push(event.type);
    if (event.type === "response.output_text.delta") held.text += event.delta;
  };
  const first = await openai.responses.create({ model, input: prompt, stream: true });
  let id;
  for await (const event of first) {
    take(event);
    id ??= event.response?.id;
    if (held.numbers.length === LEFT_AFTER) break; // The iterator hangs up.
  }
  const rest = await openai.responses.retrieve(id, {
    stream: true,
    starting_after: held.numbers.at(-1),
  });
  for await (const event of rest) take(event);
  return held;
}

await run({ chat, whole, messages, ai, responses }, (error) => ({
  status: error.status ?? error.statusCode ?? null,
  code: error.code ?? error.data?.error?.code ?? null,
  message: error.message,
}));

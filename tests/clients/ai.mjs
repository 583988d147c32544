// Vercel's AI SDK with its provider for servers that speak OpenAI's dialect.
//
// It hides the wire, so what it understood is told as a chat completion.

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";
import { apiKey, baseUrl, outputTokensMax, prompt, retriesMax, run } from "./lib.mjs";

const provider = createOpenAICompatible({
  name: "gateway",
  apiKey,
  baseURL: `${baseUrl}/v1`,
  includeUsage: true,
});
const FINISH = { "tool-calls": "tool_calls", "content-filter": "content_filter" };

async function chat({ model, stream }, signal, onEvent) {
  const asked = {
    model: provider(model),
    prompt,
    maxOutputTokens: outputTokensMax,
    maxRetries: retriesMax,
    abortSignal: signal,
  };
  let failed;
  const answer = stream
    ? streamText({ ...asked, onChunk: onEvent, onError: ({ error }) => (failed = error) })
    : await generateText(asked);
  if (stream) await answer.consumeStream({ onError: (error) => (failed = error) });
  if (signal.aborted) return null;
  if (failed) throw failed;
  const usage = await answer.usage;
  const calls = await answer.toolCalls;
  const finish = await answer.finishReason;
  return {
    id: "told",
    model,
    choices: [
      {
        index: 0,
        finish_reason: FINISH[finish] ?? finish,
        message: {
          role: "assistant",
          content: await answer.text,
          reasoning_content: (await answer.reasoningText) ?? "",
          tool_calls: calls.map((call) => ({
            id: call.toolCallId,
            type: "function",
            function: { name: call.toolName, arguments: JSON.stringify(call.input) },
          })),
        },
      },
    ],
    usage: {
      prompt_tokens: usage.inputTokens ?? 0,
      completion_tokens: usage.outputTokens ?? 0,
      prompt_tokens_details: { cached_tokens: usage.cachedInputTokens ?? 0 },
      completion_tokens_details: { reasoning_tokens: usage.reasoningTokens ?? 0 },
    },
  };
}

await run({ chat }, (error) => ({
  status: error.statusCode ?? null,
  code: error.data?.error?.code ?? null,
  message: error.message,
  ours: APICallError.isInstance(error),
}));

// What every script here does: read cases from stdin, ask, print what came, as JSON.
//
// A case is { id, client, model, stream, abort }. For each, one line is printed:
// { id, held } what the client holds, { id, error } what it threw, or { id, aborted }.

import { createInterface } from "node:readline";

export const baseUrl = process.env.GATEWAY_URL;
export const apiKey = process.env.GATEWAY_KEY;
export const prompt = process.env.GATEWAY_PROMPT ?? "What is the weather in Paris?";
export const outputTokensMax = 16000; // More than any recorded answer has.
export const retriesMax = 0; // The gateway's own answers are what is looked at.

export async function run(asks, describe) {
  for await (const line of createInterface({ input: process.stdin })) {
    const one = JSON.parse(line);
    let told;
    try {
      told = one.abort
        ? { aborted: await abort(asks[one.client], one) }
        : { held: await asks[one.client](one, new AbortController().signal, () => {}) };
    } catch (error) {
      told = { error: { type: error.constructor.name, ...describe(error) } };
    }
    console.log(JSON.stringify({ id: one.id, ...told }));
  }
}

// Leave after the first event, as a user who presses Stop.
async function abort(ask, one) {
  const controller = new AbortController();
  let seen = 0;
  try {
    await ask(one, controller.signal, () => {
      seen += 1;
      controller.abort();
    });
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  }
  return seen;
}

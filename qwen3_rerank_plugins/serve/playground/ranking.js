// Ask the server.

export class Refusal extends Error {}

// Return the model's name and whether it is ready.
export async function askHealth() {
  const response = await fetch("health");
  return response.json();
}

// Rank documents; return the results, best first, with tokens and milliseconds.
export async function rank({ query, documents, instruction, minScore, reading, maxTokens, key }) {
  const body = { query, documents, return_documents: false };
  if (instruction) body.instruction = instruction;
  if (minScore !== null) body.min_score = minScore;
  if (reading) body.long_documents = reading;
  if (maxTokens !== null) body.max_tokens_per_doc = maxTokens;
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  const started = performance.now();
  const response = await fetch("v1/rerank", { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    throw new Refusal(answer.message ?? `The server answered with status ${response.status}.`);
  }
  return {
    results: answer.results,
    tokens: answer.usage.total_tokens,
    computingMilliseconds: 1000 * answer.meta.usage.computing_seconds,
    milliseconds: performance.now() - started,
  };
}

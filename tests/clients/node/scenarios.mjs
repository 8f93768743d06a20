// The official OpenAI Node SDK against a gateway. Runs every scenario for every model and prints one JSON object:
// scenario → model → what came out. What it means is judged by the Python test that started this.
// Arguments: base URL, key, key that may use one model only.

import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, apiKey, narrowKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 30_000 });
const user = [{ role: "user", content: "Say something." }];
const parallel = [{ role: "user", content: "Use the tools in parallel." }];
const MODELS = { gpt: "oai", claude: "ant" };
const Report = z.object({ title: z.string(), weather: z.array(z.object({ city: z.string(), days: z.int() })) });

function tool(name, properties) {
  const parameters = { type: "object", properties, required: Object.keys(properties) };
  return { type: "function", function: { name, description: name, parameters } };
}
const tools = [tool("weather", { city: { type: "string" }, days: { type: "integer" } }), tool("time", { zone: { type: "string" } })];

const create = (model, more = {}, options = {}, who = client) =>
  who.chat.completions.create({ model, messages: user, ...more }, options);

// What an SDK's error is, as its users see it.
async function failure(doing) {
  try {
    return { unexpected: await doing() };
  } catch (error) {
    const kind = Object.keys(OpenAI).find((name) => OpenAI[name] === error.constructor) ?? error.constructor.name;
    const { status, code, param, type, requestID, message } = error;
    return { kind, status, code, param, type, requestID, message, retryAfter: error.headers?.get("retry-after") };
  }
}

const scenarios = {
  async plain(model) {
    const { data, response, request_id } = await create(model).withResponse();
    return { answer: data, requestId: data._request_id, same: request_id === data._request_id, target: response.headers.get("x-ostiary-target") };
  },
  async streamed(model) {
    const chunks = [];
    for await (const chunk of await create(model, { stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
    return chunks;
  },
  async streamHelper(model) {
    let told = "";
    const stream = client.chat.completions.stream({ model, messages: user });
    stream.on("content.delta", ({ delta }) => (told += delta));
    return { told, final: await stream.finalContent(), told_after: told };
  },
  async tools(model) {
    const answer = await create(model, { messages: parallel, tools });
    const message = answer.choices[0].message;
    const results = message.tool_calls.map((call) => ({ role: "tool", tool_call_id: call.id, content: `of ${call.function.name}` }));
    const last = await create(model, { messages: [...parallel, message, ...results], tools });
    return { finish: answer.choices[0].finish_reason, calls: message.tool_calls, last: last.choices[0].message };
  },
  async toolsStreamed(model) {
    const done = [];
    const stream = client.chat.completions.stream({ model, messages: parallel, tools });
    stream.on("tool_calls.function.arguments.done", ({ index, name, arguments: given }) => done.push({ index, name, arguments: given }));
    const final = await stream.finalChatCompletion();
    return { done, calls: final.choices[0].message.tool_calls };
  },
  async runTools(model) {
    const seen = [];
    const weather = zodFunction({ name: "weather", parameters: z.object({ city: z.string() }), function: ({ city }) => (seen.push(city), "sunny") });
    const runner = client.chat.completions.runTools({ model, messages: user, tools: [weather] });
    return { final: await runner.finalContent(), seen };
  },
  async parse(model) {
    const answer = await client.chat.completions.parse({ model, messages: user, response_format: zodResponseFormat(Report, "report") });
    return answer.choices[0].message.parsed;
  },
  async parseStreamed(model) {
    const stream = client.chat.completions.stream({ model, messages: user, response_format: zodResponseFormat(Report, "report") });
    return (await stream.finalChatCompletion()).choices[0].message.parsed;
  },
  async images(model) {
    const url = "data:image/png;base64,iVBORw0KGgo=";
    const content = [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }];
    return (await create(model, { messages: [{ role: "user", content }] })).choices[0].message.content;
  },
  async logprobs(model) {
    if (model === "claude") return failure(() => create(model, { logprobs: true }));
    return (await create(model, { logprobs: true, top_logprobs: 2 })).choices[0].logprobs;
  },
  async embeddings(model) {
    if (model === "claude") return failure(() => client.embeddings.create({ model, input: "one" }));
    const standard = await client.embeddings.create({ model, input: ["one", "two"], dimensions: 5 });
    const floats = await client.embeddings.create({ model, input: "one", dimensions: 5, encoding_format: "float" });
    return { standard: standard.data, floats: floats.data };
  },
  async models(model) {
    const listed = [];
    for await (const one of client.models.list()) listed.push(one.id);
    return { listed, found: (await client.models.retrieve(model)).id };
  },
  async responses(model) {
    const answer = await client.responses.create({ model, input: "Say something." });
    return { text: answer.output_text, status: answer.status, usage: answer.usage };
  },
  async responsesStreamed(model) {
    let told = "";
    const kinds = [];
    const stream = await client.responses.create({ model, input: "Say something.", stream: true });
    for await (const event of stream) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") told += event.delta;
    }
    return { told, kinds };
  },
  async responsesTools(model) {
    const given = tools.map(({ function: { name, parameters } }) => ({ type: "function", name, parameters, strict: false }));
    const input = [{ role: "user", content: "Use the tools in parallel." }];
    const answer = await client.responses.create({ model, input, tools: given });
    const calls = answer.output.filter((item) => item.type === "function_call");
    const results = calls.map((call) => ({ type: "function_call_output", call_id: call.call_id, output: `of ${call.name}` }));
    const last = await client.responses.create({ model, input: [...input, ...answer.output, ...results], tools: given });
    return { calls: calls.map(({ name, arguments: given }) => ({ name, given: JSON.parse(given) })), last: last.output_text };
  },
  responsesState: (model) => failure(() => client.responses.create({ model, input: "x", previous_response_id: "resp_1" })),
  wrongKey: (model) => failure(() => create(model, {}, {}, client.withOptions({ apiKey: "sk-of-nobody" }))),
  notFound: () => failure(() => create("no-such-model")),
  forbidden: () => failure(() => create("claude", {}, {}, client.withOptions({ apiKey: narrowKey }))),
  badRequest: (model) => failure(() => create(model, { max_tokens: "many" })),
  rateLimited: (model) => failure(() => create(`${MODELS[model]}/status=429; retry_after=2; seed=9`)),
  overloaded: (model) => failure(() => create(`${MODELS[model]}/status=${model === "gpt" ? 503 : 529}; seed=9`)),
  async cut(model) {
    const seen = [];
    const told = await failure(async () => {
      for await (const chunk of await create(`${MODELS[model]}/fault=cut; after=6`, { stream: true })) seen.push(chunk.id);
    });
    return { seen: seen.length, ...told };
  },
  async leaves(model) {
    const stream = await create(`${MODELS[model]}/fault=infinite; rate=200; seed=9`, { stream: true });
    for await (const chunk of stream) {
      return { id: chunk.id }; // leaving the loop aborts the request
    }
  },
};

const results = {};
for (const [name, scenario] of Object.entries(scenarios)) {
  results[name] = {};
  for (const model of Object.keys(MODELS)) {
    try {
      results[name][model] = (await scenario(model)) ?? null;
    } catch (error) {
      results[name][model] = { thrown: `${error.stack ?? error}` };
    }
  }
}
console.log(JSON.stringify(results));

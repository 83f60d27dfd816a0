// The AI SDK: an object of a zod schema about a picture, whole and streamed, a choice and a tool.
// Usage: node ai_sdk.mjs BASE_URL PICTURE
import assert from "node:assert";
import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, streamObject, tool } from "ai";
import { z } from "zod";

const [baseURL, picture] = process.argv.slice(2);
const model = createOpenAICompatible({ name: "llavad", baseURL, supportsStructuredOutputs: true })("demo");
const question = (text) => ({
  model,
  temperature: 0,
  maxOutputTokens: 200,
  maxRetries: 0,
  messages: [{ role: "user", content: [{ type: "image", image: readFileSync(picture) }, { type: "text", text }] }],
});
const shape = z.enum(["circle", "square", "triangle", "cross"]);
const schema = z.object({ shape, count: z.number().int().min(1).max(3), isPhotograph: z.boolean() });

const { object, usage, finishReason } = await generateObject({ ...question("What shapes are there?"), schema });
assert.deepStrictEqual(schema.parse(object), object);
assert.strictEqual(finishReason, "stop");
assert.ok(usage.outputTokens > 0);
console.log("ok   generateObject:", JSON.stringify(object));

const stream = streamObject({ ...question("What shapes are there?"), schema });
let parts = 0;
for await (const part of stream.partialObjectStream) parts += part === undefined ? 0 : 1;
assert.deepStrictEqual(await stream.object, object);
console.log(`ok   streamObject: the same in ${parts} parts`);

const shapes = z.object({ shapes: z.array(shape).min(1).max(3) });
const list = await generateObject({ ...question("What shapes are there?"), schema: shapes });
shapes.parse(list.object);
console.log("ok   generateObject with a list:", JSON.stringify(list.object));

const choice = await generateObject({ ...question("What shape is it?"), output: "enum", enum: shape.options });
assert.ok(shape.options.includes(choice.object));
console.log("ok   generateObject, enum:", choice.object);

const called = await generateText({
  ...question("Write down what shapes there are."),
  tools: { note: tool({ description: "Writes down a scene.", inputSchema: schema }) },
  toolChoice: { type: "tool", toolName: "note" },
});
assert.strictEqual(called.toolCalls[0].toolName, "note");
schema.parse(called.toolCalls[0].input);
console.log("ok   generateText with a tool:", JSON.stringify(called.toolCalls[0].input));

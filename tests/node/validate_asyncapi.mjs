// Validates an AsyncAPI document given on stdin; prints what is wrong with it and ends with 1, or its counts and 0.
import { DiagnosticSeverity, Parser } from "@asyncapi/parser";

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const { document, diagnostics } = await new Parser().parse(Buffer.concat(chunks).toString());
const errors = diagnostics.filter((one) => one.severity === DiagnosticSeverity.Error);
for (const error of errors) console.error(`${error.path.join(".")}: ${error.message}`);
if (errors.length || !document) process.exit(1);
const named = diagnostics.map((one) => one.code);
console.log(JSON.stringify({
  version: document.version(),
  channels: document.channels().length,
  operations: document.operations().length,
  receiving: document.operations().filterByReceive().length,
  messages: document.messages().length,
  warnings: [...new Set(named)],
}));

// Makes pages of an AsyncAPI document given on stdin, one a domain, in the folder that is named; they ask nobody for anything.
import { copyFile, mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Parser, stringify } from "@asyncapi/parser";

const folder = process.argv[2];
const viewer = dirname(createRequire(import.meta.url).resolve("@asyncapi/react-component/package.json"));
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const whole = JSON.parse(Buffer.concat(chunks).toString());
const domains = [...new Set(Object.keys(whole.channels).map((stream) => stream.split(".")[1]))].sort();

/** The part of the document that is about one domain's streams: a page of all of them takes a browser too long. */
function partOf(domain) {
  const own = (stream) => stream.split(".")[1] === domain;
  const kept = (entries, keep) => Object.fromEntries(Object.entries(entries).filter(keep));
  const streamOf = (operation) => operation.channel.$ref.slice("#/channels/".length);
  return {
    ...whole,
    info: { ...whole.info, title: `${whole.info.title} of ${domain}` },
    channels: kept(whole.channels, ([stream]) => own(stream)),
    operations: kept(whole.operations, ([, operation]) => own(streamOf(operation))),
    components: { ...whole.components, messages: kept(whole.components.messages, ([name]) => own(name)) },
  };
}

const framed = (title, content) => `<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <title>${title}</title>
  <link rel="stylesheet" href="viewer.css">
</head>
<body>${content}</body>
</html>
`;

async function pageOf(domain) {
  // Parsed here, once: in a browser that takes longer than anybody waits.
  const parsed = stringify((await new Parser().parse(JSON.stringify(partOf(domain)))).document);
  return framed(`Events of ${domain}`, `
  <div id="events"></div>
  <script id="document" type="application/json">${parsed.replaceAll("<", "\\u003c")}</script>
  <script src="viewer.js"></script>
  <script>
    AsyncApiStandalone.render({ schema: JSON.parse(document.getElementById("document").textContent),
      config: { show: { schemas: false, messages: false } } }, document.getElementById("events"));
  </script>`);
}

const links = domains.map((domain) => `<li><a href="${domain}.html">${domain}</a></li>`).join("");
await mkdir(folder, { recursive: true });
await copyFile(join(viewer, "browser/standalone/without-parser.js"), join(folder, "viewer.js"));
await copyFile(join(viewer, "styles/default.min.css"), join(folder, "viewer.css"));
await writeFile(join(folder, "asyncapi.json"), JSON.stringify(whole, null, 1));
await writeFile(join(folder, "index.html"), framed(whole.info.title, `<h1>${whole.info.title}</h1><ul>${links}</ul>`));
for (const domain of domains) await writeFile(join(folder, `${domain}.html`), await pageOf(domain));

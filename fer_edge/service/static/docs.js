// Renders /openapi.json, without a library and without another host.

import { element } from "./faces.js";

const api = await (await fetch("openapi.json")).json();
const schemas = api.components.schemas;

const resolve = (schema) => (schema.$ref ? schemas[schema.$ref.split("/").at(-1)] : schema);

function typeName(schema) {
  if (schema.$ref) return schema.$ref.split("/").at(-1);
  if (schema.anyOf) return schema.anyOf.map(typeName).join(" or ");
  if (schema.prefixItems) return `[${schema.prefixItems.map(typeName).join(", ")}]`;
  if (schema.type === "array") return `list of ${typeName(schema.items)}`;
  if (schema.additionalProperties) return `name → ${typeName(schema.additionalProperties)}`;
  if (schema.format === "binary") return "file";
  if (schema.format === "byte") return "string, base64";
  return schema.type ?? "anything";
}

function table(rows) {
  const made = element("table");
  for (const [name, type, text] of rows) {
    const row = element("tr");
    const head = element("th");
    head.scope = "row";
    head.append(element("code", "", name));
    const cell = element("td");
    if (type) cell.append(element("code", "", type), " ");
    cell.append(element("span", "muted", text ?? ""));
    row.append(head, cell);
    made.append(row);
  }
  return made;
}

const fields = (schema) => Object.entries(resolve(schema).properties ?? {})
  .map(([name, field]) => [name, typeName(field), field.description]);

// All schemas in an answer, the outermost first.
function parts(schema, seen = new Map()) {
  if (schema.$ref && !seen.has(schema.$ref)) {
    seen.set(schema.$ref, schema);
    for (const field of Object.values(resolve(schema).properties ?? {})) parts(field, seen);
  }
  if (schema.items) parts(schema.items, seen);
  return [...seen.values()];
}

function operation(path, method, { description, requestBody, responses }) {
  const section = element("section", "card");
  const heading = element("h2");
  heading.append(element("span", "method", method.toUpperCase()), element("code", "", path));
  section.append(heading, element("p", "", description ?? ""));
  for (const [type, { schema }] of Object.entries(requestBody?.content ?? {})) {
    section.append(element("h3", "", `Request, ${type}`), table(fields(schema)));
  }
  for (const part of parts(responses["200"]?.content?.["application/json"]?.schema ?? {})) {
    section.append(element("h3", "", `Answer: ${typeName(part)}`), table(fields(part)));
  }
  const refusals = Object.entries(responses).filter(([status]) => status !== "200");
  if (refusals.length) {
    section.append(element("h3", "", "Refusals"),
      table(refusals.map(([status, { description: why }]) => [status, "", why])));
  }
  return section;
}

document.getElementById("version").textContent = api.info.version;
document.getElementById("version").hidden = false;
document.getElementById("about").append(...api.info.description.split("\n\n").map((text) => {
  const paragraph = element("p");
  // Text between backticks is code.
  paragraph.append(...text.split("`").map((part, index) => element(index % 2 ? "code" : "span", "", part)));
  return paragraph;
}));
document.getElementById("operations").append(...Object.entries(api.paths)
  .flatMap(([path, methods]) => Object.entries(methods)
    .map(([method, details]) => operation(path, method, details))));

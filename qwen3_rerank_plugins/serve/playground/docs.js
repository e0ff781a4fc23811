// Show the endpoints that openapi.json describes, with the fields of their bodies.

import { make } from "./results.js";

const response = await fetch("openapi.json");
const api = await response.json();

function resolve(schema) {
  return schema?.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;
}

function kindOf(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" or ");
  if (schema.anyOf) return schema.anyOf.map(kindOf).join(" or ");
  if (schema.type === "array") return `list of ${schema.items ? kindOf(schema.items) : "any"}`;
  return schema.type ?? "any";
}

// Return a text with its parts between backticks as code.
function described(text) {
  return text.split("`").map((part, place) => (place % 2 ? make("code", {}, part) : part));
}

function fieldsOf(schema) {
  const head = make("tr", {}, ...["field", "type", "meaning"].map((name) => make("th", { scope: "col" }, name)));
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const required = schema.required?.includes(name) ? "Required. " : "";
    return make(
      "tr",
      {},
      make("td", {}, make("code", {}, name)),
      make("td", {}, kindOf(field)),
      make("td", {}, ...described(required + (field.description ?? ""))),
    );
  });
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

function bodiesOf(operation) {
  const schema = operation.requestBody?.content["application/json"]?.schema;
  return schema ? (schema.oneOf ?? [schema]).map(resolve) : [];
}

const shown = [];
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, operation] of Object.entries(methods)) {
    shown.push(make("h2", {}, make("code", {}, `${method.toUpperCase()} ${path}`)));
    shown.push(make("p", {}, ...described(operation.description ?? operation.summary)));
    for (const schema of bodiesOf(operation)) {
      shown.push(make("h3", {}, schema.description ?? schema.title), fieldsOf(schema));
    }
  }
}
document.getElementById("about").textContent = api.info.description;
document.getElementById("endpoints").append(...shown);

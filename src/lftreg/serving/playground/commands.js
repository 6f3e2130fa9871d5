// What the page does, as something to type.

import { key } from "./api.js";

/** A request for curl. A key stays out of it: it is read from the environment. */
export function curlCommand(model, body) {
  const lines = [`curl ${location.origin}${location.pathname}v1/chat/completions`];
  if (key.get()) lines.push(`-H "Authorization: Bearer $LFTREG_API_KEY"`);
  lines.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify({ model, ...body }))}`);
  return lines.join(" \\\n  ");
}

/** How a mix becomes an adapter of the registry. */
export function composeCommand(chosen) {
  if (chosen.length === 0) return "Choose adapters first.";
  if (chosen.length === 1 && chosen[0].weight === 1) return "One adapter as it is: there is nothing to compose.";
  return `lftreg compose ${chosen.map(({ ref, weight }) => `${ref}:${weight}`).join(" ")}`;
}

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

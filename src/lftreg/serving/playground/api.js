// What the page asks of the server, and every failure as a sentence.

const KEY = "lftreg-api-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => (text ? sessionStorage.setItem(KEY, text) : sessionStorage.removeItem(KEY)),
};

class Refused extends Error {
  constructor(status, told, wait) {
    super(told?.message ?? "");
    this.status = status;
    this.hint = told?.hint ?? "";
    this.wait = wait;
  }
}

class Broken extends Error {}

/** What went wrong, for a person. */
export function sentence(error) {
  if (error.name === "AbortError") return "Stopped.";
  if (error instanceof Broken) return "The answer broke off: the server closed the connection.";
  if (!(error instanceof Refused)) return "The server cannot be reached. Is `lftreg serve` still running?";
  const told = `${ended(error.message)} ${ended(error.hint)}`.trim();
  if (error.status === 401)
    return key.get()
      ? "The server does not accept this API key."
      : "This server wants an API key: type it into the field at the top.";
  if (error.status === 403) return `This API key may not do that. ${told}`.trim();
  if (error.status === 429) return `The server has too much to do. ${told} ${again(error.wait)}`.replace(/\s+/g, " ");
  if (error.status === 503) return `The server cannot answer now. ${told} ${again(error.wait)}`.replace(/\s+/g, " ");
  return told || `The server failed (${error.status}).`;
}

const again = (wait) => (wait ? `Try again in ${wait} second${wait === 1 ? "" : "s"}.` : "Try again in a moment.");

function ended(text) {
  const trimmed = text.trim();
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return !capital || /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

async function send(path, init = {}) {
  const headers = { ...init.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  const response = await fetch(path, { ...init, headers });
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  throw new Refused(response.status, told?.error, Math.ceil(Number(response.headers.get("Retry-After"))) || null);
}

/** A document of the browsing API. */
export async function read(path, parameters = {}, signal) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== "" && value != null));
  const response = await send(`${path}${query.size ? `?${query}` : ""}`, { signal });
  return response.json();
}

export const adapters = (parameters, signal) => read("api/adapters", parameters, signal);
export const adapter = (ref, part = "", signal) =>
  read(`api/adapters/${encodeURIComponent(ref)}${part && `/${part}`}`, {}, signal);

/** Ask for an answer; `listen` is called with every piece of it. Returns what the server says at its end. */
export async function chat(body, listen, signal) {
  const response = await send("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const end = { tokens: null, reason: null };
  for await (const data of events(response.body)) {
    if (data === "[DONE]") return end;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new Refused(chunk.error.status ?? 500, chunk.error, null);
    const choice = chunk.choices?.[0];
    if (choice?.delta?.content) listen(choice.delta.content);
    end.reason = choice?.finish_reason ?? end.reason;
    end.tokens = chunk.usage?.completion_tokens ?? end.tokens;
  }
  throw new Broken();
}

/** The data of server-sent events, one after another. */
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      held += value;
      const parts = held.split(/\r?\n\r?\n/);
      held = parts.pop();
      for (const part of parts) {
        const lines = part.split(/\r?\n/).filter((line) => line.startsWith("data:"));
        if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

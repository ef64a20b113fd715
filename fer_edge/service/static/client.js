// Client of the server's API. It does not touch the page.

let token = null; // kept in memory only

export class Refused extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export function setToken(value) {
  token = value;
}

async function request(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Refused(0, "The server does not answer. Check that it runs.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.error ?? `Error ${response.status}.`);
  return answer;
}

export const info = () => request("info");

export function predict(file) {
  const form = new FormData();
  form.append("image", file, "picture");
  return request("predict", { method: "POST", body: form });
}

const IN_FLIGHT = 2; // one frame is computed while the next is sent; more would only add delay

// Live frames. Calls answered(answer, roundTripMs) for each, and ended(sentence) once.
export class Live {
  constructor({ answered, ended }) {
    const bytes = new TextEncoder().encode(token ?? "");
    const coded = btoa(String.fromCharCode(...bytes))
      .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    const protocols = token ? ["fer-edge", `fer-edge.bearer.${coded}`] : ["fer-edge"];
    this.sent = new Map();
    this.count = 0;
    const address = new URL("live", document.baseURI); // relative: a proxy may add a path
    address.protocol = address.protocol.replace("http", "ws");
    this.socket = new WebSocket(address, protocols);
    this.socket.onmessage = ({ data }) => {
      const answer = JSON.parse(data);
      const start = this.sent.get(answer.frame);
      for (const frame of this.sent.keys()) if (frame <= answer.frame) this.sent.delete(frame);
      answered(answer, performance.now() - start);
    };
    this.socket.onclose = ({ reason }) => ended(reason || "The live connection ended. Start the webcam again.");
  }

  get ready() {
    return this.socket.readyState === WebSocket.OPEN && this.sent.size < IN_FLIGHT;
  }

  send(blob, capturedAt) {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.sent.set(++this.count, capturedAt);
    this.socket.send(blob);
  }

  close() {
    this.socket.onclose = this.socket.onmessage = null;
    // Browsers log an error if a socket is closed before it is open.
    if (this.socket.readyState === WebSocket.CONNECTING) this.socket.onopen = () => this.socket.close();
    else this.socket.close();
  }
}

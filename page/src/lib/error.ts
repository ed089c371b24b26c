// An ApiError is an answer of the server that refuses a request, or (status 0) no answer at all.
export class ApiError extends Error {
  readonly status: number;
  readonly param: string; // the field at fault, or ""
  readonly code: string; // the error's fixed name, or ""
  readonly request: string; // X-Request-Id, or ""

  constructor(message: string, status: number, param = "", code = "", request = "") {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.param = param;
    this.code = code;
    this.request = request;
  }
}

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null;
const text = (v: unknown): string => (typeof v === "string" ? v : "");

// errorFrom reads an error as the server writes them: {"error": {"message", "param", "code"}}, or {"error": "text"} in
// Ollama's shape. A body of another kind is shown as it is, as far as it is short.
export function errorFrom(body: unknown, status: number, request = ""): ApiError {
  if (isObject(body)) {
    const e = body.error;
    if (isObject(e) && typeof e.message === "string") return new ApiError(e.message, status, text(e.param), text(e.code), request);
    if (typeof e === "string") return new ApiError(e, status, "", "", request);
  }
  const shown = typeof body === "string" ? body.trim().slice(0, 500) : "";
  return new ApiError(shown || `HTTP ${status}`, status, "", "", request);
}

export async function errorOf(response: Response): Promise<ApiError> {
  const body = await response.text().catch(() => "");
  let value: unknown = body;
  try {
    value = JSON.parse(body);
  } catch {
    // Not JSON: a proxy's page, perhaps.
  }
  return errorFrom(value, response.status, response.headers.get("X-Request-Id") ?? "");
}

// messageOf is what to show of whatever was thrown.
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

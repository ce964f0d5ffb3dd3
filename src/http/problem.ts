// THE map from error codes to what a client sees: HTTP status, title, WebSocket close code, retry time, and how the
// request is counted. Main thread, pure. Knows codes only: nothing below http/ knows of statuses.
import { ServiceError, type ErrorCode, type FieldError } from '../errors.ts';
import type { Outcome } from '../observability/metrics.ts';

export interface ProblemSpec {
  /** HTTP status; 499 is written to logs and metrics only. */
  readonly status: number;
  readonly title: string;
  /** Close code where the socket itself cannot go on; absent for codes that no WebSocket sees. */
  readonly webSocketClose?: 1008 | 1009 | 1011 | 1012 | 1013;
  /** How `glossa_requests_total` counts it. */
  readonly outcome: Outcome;
  /** What the client reads in place of the error's own message, which may name internals; every status from 500 has one. */
  readonly detail?: string;
  /** Sent as `Retry-After` unless the error brings an estimate, in milliseconds. */
  readonly retryAfterMs?: number;
  /** Up to this much is added to spread retries, in milliseconds. */
  readonly jitterMs?: number;
}

const invalid = 'invalid';
const failed = 'failed';

export const problems = {
  invalid_request: { status: 400, title: 'Invalid request', webSocketClose: 1008, outcome: invalid },
  unauthenticated: { status: 401, title: 'Authentication required', webSocketClose: 1008, outcome: invalid },
  forbidden: { status: 403, title: 'Not allowed', webSocketClose: 1008, outcome: invalid },
  not_found: { status: 404, title: 'Not found', outcome: invalid },
  model_not_found: { status: 404, title: 'Model not found', webSocketClose: 1008, outcome: invalid },
  method_not_allowed: { status: 405, title: 'Method not allowed', outcome: invalid },
  request_timeout: { status: 408, title: 'Request timeout', outcome: invalid },
  conflict: { status: 409, title: 'Conflict', outcome: invalid },
  gone: { status: 410, title: 'Gone', outcome: invalid },
  payload_too_large: { status: 413, title: 'Payload too large', webSocketClose: 1009, outcome: invalid },
  unsupported_media_type: { status: 415, title: 'Unsupported media type', outcome: invalid },
  input_too_long: { status: 422, title: 'Input too long', webSocketClose: 1008, outcome: invalid },
  tokenization_failed: { status: 422, title: 'Input cannot be tokenised', webSocketClose: 1008, outcome: invalid },
  task_mismatch: { status: 422, title: 'Model does not serve this task', webSocketClose: 1008, outcome: invalid },
  poison_input: { status: 422, title: 'Input cannot be processed', webSocketClose: 1008, outcome: failed },
  upgrade_required: { status: 426, title: 'Upgrade required', outcome: invalid },
  rate_limited: { status: 429, title: 'Rate limited', webSocketClose: 1013, outcome: 'rejected_quota', retryAfterMs: 1000, jitterMs: 1000 },
  overloaded: { status: 429, title: 'Overloaded', webSocketClose: 1013, outcome: 'rejected_overload', retryAfterMs: 1000, jitterMs: 1000 },
  headers_too_large: { status: 431, title: 'Request headers too large', outcome: invalid },
  client_closed: { status: 499, title: 'Client closed the connection', outcome: 'cancelled' },
  internal: {
    status: 500,
    title: 'Internal error',
    webSocketClose: 1011,
    outcome: failed,
    detail: 'The service failed on this request. The log has the reason under the request id.',
  },
  inference_failed: {
    status: 500,
    title: 'Inference failed',
    webSocketClose: 1011,
    outcome: failed,
    detail: 'The model failed on this request. The log has the reason under the request id.',
  },
  worker_crashed: {
    status: 500,
    title: 'Worker lost',
    webSocketClose: 1011,
    outcome: failed,
    detail: 'The worker that ran this request was ended from outside. Send the request again.',
  },
  model_loading: {
    status: 503,
    title: 'Model is loading',
    webSocketClose: 1013,
    outcome: failed,
    detail: 'The model is loading. Send the request again after the time that Retry-After names.',
    retryAfterMs: 2000,
  },
  model_failed: {
    status: 503,
    title: 'Model failed',
    webSocketClose: 1013,
    outcome: failed,
    detail: 'Workers died repeatedly while they ran this model, so it is no longer served. GET /models lists what is.',
    retryAfterMs: 60_000,
  },
  no_worker: {
    status: 503,
    title: 'No worker',
    webSocketClose: 1013,
    outcome: failed,
    detail: 'No worker is ready. Send the request again after the time that Retry-After names.',
    retryAfterMs: 2000,
  },
  shutting_down: {
    status: 503,
    title: 'Shutting down',
    webSocketClose: 1012,
    outcome: 'draining',
    detail: 'This server is shutting down. Send the request again: another one, or this one after its restart, will answer.',
    retryAfterMs: 1000,
  },
  deadline_exceeded: {
    status: 504,
    title: 'Deadline exceeded',
    webSocketClose: 1011,
    outcome: 'timeout',
    detail: 'The deadline passed before the answer was ready. Send fewer or shorter inputs, or a longer x-request-timeout-ms.',
  },
} as const satisfies Record<ErrorCode, ProblemSpec>;

/** RFC 9457 problem details. */
export interface ProblemBody {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly code: ErrorCode;
  readonly detail: string;
  readonly instance: string;
  readonly request_id: string;
  readonly errors?: readonly FieldError[];
}

export interface ProblemAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: ProblemBody;
}

export const problemContentType = 'application/problem+json';

/** What the client gets for an error; `instance` is the path it asked for, without its query. */
export function problemAnswer(error: ServiceError, of: { readonly instance: string; readonly requestId: string }): ProblemAnswer {
  const spec: ProblemSpec = problems[error.code];
  const body: ProblemBody = {
    type: `/docs#${error.code}`,
    title: spec.title,
    status: spec.status,
    code: error.code,
    detail: spec.detail ?? error.message,
    instance: of.instance,
    request_id: of.requestId,
    ...(error.errors === undefined || spec.status >= 500 ? {} : { errors: error.errors }),
  };
  return { status: spec.status, headers: retryHeaders(error, spec), body };
}

/** Whole seconds for every client, milliseconds for those that read them. */
function retryHeaders(error: ServiceError, spec: ProblemSpec): Readonly<Record<string, string>> {
  if (spec.retryAfterMs === undefined) return {};
  const waitMs = Math.max(1, error.retryAfterMs ?? spec.retryAfterMs) + Math.random() * (spec.jitterMs ?? 0);
  return { 'retry-after': String(Math.max(1, Math.ceil(waitMs / 1000))), 'retry-after-ms': String(Math.ceil(waitMs)) };
}

/** Codes of Fastify's own errors that are the client's doing; any other is `internal`. */
const fastifyCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_VALIDATION: 'invalid_request',
  FST_ERR_BAD_URL: 'invalid_request',
  FST_ERR_MAX_PARAM_LENGTH: 'not_found',
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload_too_large',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'invalid_request',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported_media_type',
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: 'unsupported_media_type',
};

/** Messages that replace Fastify's, which name no remedy. */
const fastifyDetails: Readonly<Partial<Record<ErrorCode, string>>> = {
  unsupported_media_type: 'Send the body as content-type: application/json.',
  not_found: 'The path has a part that is too long to be a name.',
};

/** Any error that Fastify or a handler threw, as a ServiceError. */
export function asServiceError(error: unknown): ServiceError {
  if (error instanceof ServiceError) return error;
  const fastifyCode = (error as { readonly code?: unknown } | null)?.code;
  const code = typeof fastifyCode === 'string' ? fastifyCodes[fastifyCode] : undefined;
  const message = error instanceof Error ? error.message : String(error);
  return new ServiceError(code ?? 'internal', (code && fastifyDetails[code]) ?? message, { cause: error });
}

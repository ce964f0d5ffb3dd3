// Every error that leaves a room of Glossa, as data. Runs on every thread; imports nothing.
// HTTP statuses live in http/problem.ts: nothing here knows of them.

/** Machine-readable reason of a failure. `http/problem.ts` maps each one to a status and a WebSocket close code. */
export type ErrorCode =
  | 'invalid_request'
  | 'unauthenticated'
  | 'forbidden'
  | 'not_found'
  | 'method_not_allowed'
  | 'request_timeout'
  | 'model_not_found'
  | 'conflict'
  | 'gone'
  | 'payload_too_large'
  | 'headers_too_large'
  | 'unsupported_media_type'
  | 'upgrade_required'
  | 'input_too_long'
  | 'tokenization_failed'
  | 'task_mismatch'
  | 'poison_input'
  | 'rate_limited'
  | 'overloaded'
  | 'model_loading'
  | 'model_failed'
  | 'shutting_down'
  | 'no_worker'
  | 'deadline_exceeded'
  | 'inference_failed'
  | 'worker_crashed'
  | 'internal'
  | 'client_closed';

/** One field of a request that is wrong. */
export interface FieldError {
  /** JSON pointer into the body, such as `/inputs/3`, or a header's name. */
  readonly path: string;
  /** What is wrong and what would be right, limit and value included. */
  readonly message: string;
}

/** Plain-data form of a ServiceError, for the worker boundary: structured clone drops an Error's own properties. */
export interface PlainError {
  readonly code: ErrorCode;
  readonly message: string;
  readonly errors?: readonly FieldError[];
  readonly retryAfterMs?: number;
}

export interface ServiceErrorOptions {
  readonly errors?: readonly FieldError[] | undefined;
  /** Estimated wait before a retry can succeed, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  readonly cause?: unknown;
}

/** A failure with a code that a client can act on. `message` goes to the client for codes below 500 only. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly code: ErrorCode;
  readonly errors: readonly FieldError[] | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, options: ServiceErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.errors = options.errors;
    this.retryAfterMs = options.retryAfterMs;
  }

  /** The form that crosses to another thread. */
  toPlain(): PlainError {
    return {
      code: this.code,
      message: this.message,
      ...(this.errors === undefined ? {} : { errors: this.errors }),
      ...(this.retryAfterMs === undefined ? {} : { retryAfterMs: this.retryAfterMs }),
    };
  }

  static fromPlain(plain: PlainError): ServiceError {
    return new ServiceError(plain.code, plain.message, plain);
  }
}

/** Any thrown value as a ServiceError; unknown ones become `fallback` with the original as cause. */
export function toServiceError(error: unknown, fallback: ErrorCode = 'internal'): ServiceError {
  if (error instanceof ServiceError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ServiceError(fallback, message, { cause: error });
}

/**
 * Exit codes of a start that failed (sysexits.h): 78 configuration or an absent directory or file,
 * 65 a file that is present but wrong, 69 a required device or hub that cannot be had.
 */
export type StartupExitCode = 78 | 65 | 69;

/** Why the service did not start. Every problem is one line that says what to do. */
export class StartupError extends Error {
  override readonly name = 'StartupError';
  readonly exitCode: StartupExitCode;
  readonly problems: readonly string[];

  constructor(exitCode: StartupExitCode, problems: readonly string[]) {
    super(problems.join('; '));
    this.exitCode = exitCode;
    this.problems = problems;
  }
}

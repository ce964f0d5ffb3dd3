// The map from codes to answers, and what a client may and may not read.
import fc from 'fast-check';
import t from 'tap';
import { type ErrorCode, ServiceError } from '../../../src/errors.ts';
import { asServiceError, problemAnswer, type ProblemSpec, problems } from '../../../src/http/problem.ts';

const of = { instance: '/classify', requestId: 'id-1' };
const codes = Object.keys(problems) as ErrorCode[];

/** Architecture, section 7. */
const expected: Readonly<Record<number, readonly ErrorCode[]>> = {
  400: ['invalid_request'],
  401: ['unauthenticated'],
  403: ['forbidden'],
  404: ['not_found', 'model_not_found'],
  405: ['method_not_allowed'],
  408: ['request_timeout'],
  409: ['conflict'],
  410: ['gone'],
  413: ['payload_too_large'],
  415: ['unsupported_media_type'],
  422: ['input_too_long', 'tokenization_failed', 'task_mismatch', 'poison_input'],
  426: ['upgrade_required'],
  429: ['rate_limited', 'overloaded'],
  431: ['headers_too_large'],
  499: ['client_closed'],
  500: ['internal', 'inference_failed', 'worker_crashed'],
  503: ['model_loading', 'model_failed', 'no_worker', 'shutting_down'],
  504: ['deadline_exceeded'],
};

t.test('each code has the status that the design names', async (t) => {
  for (const [status, list] of Object.entries(expected)) for (const code of list) t.equal(problems[code].status, Number(status), code);
  t.same(Object.values(expected).flat().sort(), [...codes].sort(), 'every code is in the table');
});

t.test('the body names kind, code, remedy and request', async (t) => {
  const errors = [{ path: '/inputs/2', message: 'is too long' }];
  const { status, body, headers } = problemAnswer(new ServiceError('input_too_long', 'Send less.', { errors }), of);
  t.equal(status, 422);
  t.same(headers, {});
  t.same(body, {
    type: '/docs#input_too_long',
    title: 'Input too long',
    status: 422,
    code: 'input_too_long',
    detail: 'Send less.',
    instance: '/classify',
    request_id: 'id-1',
    errors,
  });
});

t.test('from 500 on the message stays inside', async (t) => {
  for (const code of codes.filter((name) => problems[name].status >= 500)) {
    const secret = '/models/secret.onnx: bad allocation';
    const answer = problemAnswer(
      new ServiceError(code, secret, { errors: [{ path: '/a', message: secret }], cause: new Error(secret) }),
      of,
    );
    t.notMatch(JSON.stringify(answer), /secret/, code);
    t.ok(answer.body.detail.length > 20, 'and something else says what to do');
  }
});

t.test('retry times are whole seconds from 1, and milliseconds', async (t) => {
  fc.assert(
    fc.property(
      fc.constantFrom(...codes),
      fc.option(fc.double({ min: 0, max: 120_000, noNaN: true }), { nil: undefined }),
      (code, retryAfterMs) => {
        const spec: ProblemSpec = problems[code];
        const { headers } = problemAnswer(new ServiceError(code, 'x', { retryAfterMs }), of);
        if (spec.retryAfterMs === undefined) {
          t.same(headers, {}, code);
          return;
        }
        const seconds = headers['retry-after'] as string;
        const ms = Number(headers['retry-after-ms']);
        const base = retryAfterMs ?? spec.retryAfterMs;
        t.match(seconds, /^[1-9]\d*$/u, code);
        t.ok(
          Number.isInteger(ms) && ms >= Math.max(1, Math.floor(base)) && ms <= base + (spec.jitterMs ?? 0) + 2,
          `${code}: ${base} → ${ms} ms`,
        );
        t.ok(Number(seconds) >= ms / 1000 - 0.001 && Number(seconds) <= Math.max(1, ms / 1000 + 1), `${code}: ${ms} ms → ${seconds} s`);
      },
    ),
  );
});

t.test('refusals and unavailability are retried, other problems are not', async (t) => {
  for (const code of codes) {
    const { headers } = problemAnswer(new ServiceError(code, 'x'), of);
    const { status } = problems[code];
    t.equal('retry-after' in headers, status === 429 || status === 503, code);
  }
});

t.test('other errors become codes too', async (t) => {
  t.equal(asServiceError(Object.assign(new Error('x'), { code: 'FST_ERR_CTP_INVALID_MEDIA_TYPE' })).code, 'unsupported_media_type');
  t.equal(asServiceError(Object.assign(new Error('x'), { code: 'FST_ERR_BAD_URL' })).code, 'invalid_request');
  t.equal(asServiceError(Object.assign(new Error('x'), { code: 'ENOENT' })).code, 'internal');
  t.equal(asServiceError(new TypeError('x')).code, 'internal');
  t.equal(asServiceError('x').code, 'internal');
  t.equal(asServiceError(undefined).code, 'internal');
  const error = new ServiceError('gone', 'x');
  t.equal(asServiceError(error), error);
});

// When calls stop and go on.
import t from 'tap';
import { CircuitBreaker } from '../../../src/store/circuit-breaker.ts';

function fixture() {
  const clock = { now: 0 };
  const changes: string[] = [];
  const breaker = new CircuitBreaker({
    now: () => clock.now,
    failureCount: 5,
    windowMs: 10_000,
    onChange: (state, reason) => changes.push(`${state} ${reason}`),
  });
  return { breaker, clock, changes };
}

t.test('five failures within ten seconds open it, once', async (t) => {
  const { breaker, clock, changes } = fixture();
  for (let failure = 0; failure < 4; failure++) breaker.failed('down');
  t.equal(breaker.state, 'closed');
  clock.now = 9999;
  breaker.failed('down');
  t.equal(breaker.state, 'open');
  breaker.failed('down');
  t.same(changes, ['open down']);
});

t.test('failures that are far apart, or with a success between, do not', async (t) => {
  const { breaker, clock, changes } = fixture();
  for (let failure = 0; failure < 20; failure++) {
    breaker.failed('slow');
    clock.now += 2501;
  }
  breaker.succeeded();
  for (let failure = 0; failure < 20; failure++) {
    breaker.failed('slow');
    if (failure % 4 === 3) breaker.succeeded();
  }
  t.equal(breaker.state, 'closed');
  t.same(changes, []);
});

t.test('a success closes it, and it counts anew', async (t) => {
  const { breaker, changes } = fixture();
  for (let failure = 0; failure < 5; failure++) breaker.failed('down');
  breaker.succeeded();
  t.same(changes, ['open down', 'closed ']);
  for (let failure = 0; failure < 4; failure++) breaker.failed('down');
  t.equal(breaker.state, 'closed');
});

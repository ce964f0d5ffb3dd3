// When deaths of workers fail a model, in virtual time.
import t from 'tap';
import { ModelDeaths } from '../../../src/pool/model-deaths.ts';

t.test('three deaths within 60 s fail a model for good', (t) => {
  let now = 0;
  const deaths = new ModelDeaths(() => now);
  for (const at of [0, 30_000]) {
    now = at;
    deaths.record('m');
    t.equal(deaths.judge('m'), undefined);
  }
  now = 61_000;
  deaths.record('m');
  t.equal(deaths.judge('m'), undefined, 'the first one is too long ago');
  now = 62_000;
  deaths.record('m');
  t.match(deaths.judge('m'), /3 workers died/);
  t.equal(deaths.judge('m'), undefined, 'told once');
  now = 1_000_000;
  t.match(deaths.failure('m'), /3 workers died/);
  t.equal(deaths.failure('other'), undefined);
  t.end();
});

t.test('an absolved death does not count', (t) => {
  const deaths = new ModelDeaths(() => 0);
  deaths.record('m');
  deaths.record('m');
  deaths.record('m');
  deaths.absolve('m');
  t.equal(deaths.judge('m'), undefined);
  deaths.record('m');
  t.ok(deaths.judge('m'));
  t.end();
});

t.test('an answer takes all deaths before it back, but no failure', (t) => {
  const deaths = new ModelDeaths(() => 0);
  deaths.record('m');
  deaths.record('m');
  deaths.absolveAll('m');
  deaths.record('m');
  deaths.record('m');
  t.equal(deaths.judge('m'), undefined);
  deaths.record('m');
  t.ok(deaths.judge('m'));
  deaths.absolveAll('m');
  t.ok(deaths.failure('m'));
  t.end();
});

t.test('models that are not served any more are forgotten', (t) => {
  const deaths = new ModelDeaths(() => 0);
  for (const model of ['old', 'old', 'old', 'new', 'new', 'new']) deaths.record(model);
  deaths.judge('old');
  deaths.judge('new');
  deaths.retain(new Set(['new']));
  t.equal(deaths.failure('old'), undefined);
  t.ok(deaths.failure('new'));
  t.end();
});

// A figure beside its criterion: what is MET, what is MISSED, and that what could not be measured never passes.
import t from 'tap';
import { isMet, Report, type Row } from '../../bench/report.ts';

const row = (value: number, bar?: Row['bar']): Row => ({
  part: 'mix',
  what: '32 connections',
  value,
  unit: '× raw',
  ...(bar === undefined ? {} : { bar }),
});

t.test('a criterion includes its limit, on either side', async (t) => {
  t.equal(isMet(row(0.9, { relation: '≥', limit: 0.9 })), true);
  t.equal(isMet(row(0.8999, { relation: '≥', limit: 0.9 })), false);
  t.equal(isMet(row(20, { relation: '≤', limit: 20 })), true);
  t.equal(isMet(row(20.001, { relation: '≤', limit: 20 })), false);
  t.equal(isMet(row(1)), undefined, 'a figure without a criterion is not judged');
});

t.test('what could not be measured is missed', async (t) => {
  t.equal(isMet(row(Number.NaN, { relation: '≥', limit: 0 })), false);
  t.equal(isMet(row(Number.NaN, { relation: '≤', limit: 0 })), false);
  t.equal(isMet(row(Number.POSITIVE_INFINITY, { relation: '≤', limit: 1e-6 })), false);
});

t.test('the report shows facts, verdicts, notes and warnings', async (t) => {
  const written: string[] = [];
  const facts = {
    date: '2026-01-02',
    command: 'npm run bench',
    cpu: 'x',
    cores: 2,
    kernel: 'k',
    node: 'v',
    onnxruntime: 'o',
    model: 'm',
    mix: 'real',
  };
  const report = new Report(facts, (text) => written.push(text));
  report.add(row(0.934, { relation: '≥', limit: 0.9 }));
  report.add({ ...row(0.5, { relation: '≥', limit: 0.75 }), note: 'a | b' });
  report.add(row(312.34));
  report.warn('raw round is void');
  t.equal(report.missedCount, 1);
  t.equal(report.warningCount, 1);
  const page = report.markdown();
  t.match(page, '- command: npm run bench');
  t.match(page, '| mix | 32 connections | 0.934 × raw | ≥ 0.9 | MET |  |');
  t.match(page, '| 0.5 × raw | ≥ 0.75 | MISSED | a \\| b |', 'a bar in a note does not break the table');
  t.match(page, '| 312.3 × raw |  |  |  |');
  t.match(page, '- raw round is void');
  t.match(written.join(''), /^MET .*0\.934.*\nMISSED .*\n +mix .*\n!! raw round is void\n$/u);
});

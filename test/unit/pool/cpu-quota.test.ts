// Cores that a container may use, from fabricated cgroup files.
import t from 'tap';
import { cgroupDirectories, parseCfsQuota, parseCpuMax, usableCores } from '../../../src/pool/cpu-quota.ts';

t.test('cpu.max of cgroup v2', (t) => {
  t.equal(parseCpuMax('150000 100000\n'), 1.5);
  t.equal(parseCpuMax('50000'), 0.5, 'the period defaults to 100 ms');
  t.equal(parseCpuMax('max 100000\n'), undefined);
  t.equal(parseCpuMax(''), undefined);
  t.end();
});

t.test('CFS quota of cgroup v1', (t) => {
  t.equal(parseCfsQuota('400000\n', '100000\n'), 4);
  t.equal(parseCfsQuota('-1\n', '100000\n'), undefined);
  t.equal(parseCfsQuota('x', '100000'), undefined);
  t.equal(parseCfsQuota('100000', '0'), undefined);
  t.end();
});

t.test('a group and all its ancestors are looked at', (t) => {
  t.strictSame(
    cgroupDirectories('0::/a/b\n').filter((path) => !path.includes('unified')),
    ['/sys/fs/cgroup/a/b', '/sys/fs/cgroup/a', '/sys/fs/cgroup'],
  );
  t.ok(cgroupDirectories('4:cpu,cpuacct:/docker/x\n3:memory:/m\n').includes('/sys/fs/cgroup/cpu,cpuacct/docker/x'));
  t.notOk(cgroupDirectories('3:memory:/m\n').length, 'other controllers say nothing of cores');
  t.notOk(
    cgroupDirectories('0::/../../x\n').some((path) => path.includes('..')),
    'never above the mount',
  );
  t.end();
});

t.test('the smallest limit wins, rounded down, at least 1', (t) => {
  const read = (files: Record<string, string>) => (path: string) => files[path];
  const v2 = {
    '/proc/self/cgroup': '0::/pod/app\n',
    '/sys/fs/cgroup/pod/app/cpu.max': 'max 100000',
    '/sys/fs/cgroup/pod/cpu.max': '370000 100000',
  };
  t.equal(usableCores({ read: read(v2), parallelism: 16 }), 3, 'a limit of the parent counts');
  t.equal(usableCores({ read: read(v2), parallelism: 2 }), 2, 'a cpuset below the quota counts');
  t.equal(usableCores({ read: read({ ...v2, '/sys/fs/cgroup/pod/app/cpu.max': '20000 100000' }), parallelism: 16 }), 1);
  const v1 = {
    '/proc/self/cgroup': '2:cpu,cpuacct:/x\n',
    '/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us': '250000',
    '/sys/fs/cgroup/cpu/x/cpu.cfs_period_us': '100000',
  };
  t.equal(usableCores({ read: read(v1), parallelism: 8 }), 2);
  t.equal(usableCores({ read: () => undefined, parallelism: 8 }), 8, 'no cgroup file');
  t.ok(usableCores() >= 1, 'this machine');
  t.end();
});

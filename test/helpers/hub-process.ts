// Fetches a model in a process of its own: `hub-process.js <endpoint> <home>`.
import { resolveHubModel } from '../../src/hub/resolve-model.ts';

const [endpoint = '', home = ''] = process.argv.slice(2);
await resolveHubModel(
  { id: 'owner/model', revision: 'main' },
  {
    endpoint,
    token: undefined,
    home,
    offline: false,
    choose: (files) => files.filter((file) => /^(?:config\.json|onnx\/model\.onnx)$/u.test(file)),
    progress: () => undefined,
    retryDelayMs: 1,
  },
);
process.disconnect();

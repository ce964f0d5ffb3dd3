// Texts of one request become encodings, in order; of several wrong ones the first is reported, whichever fails first.
import t from 'tap';
import { ServiceError } from '../../../src/errors.ts';
import { encodeInputs } from '../../../src/engine/tokenize.ts';
import type { Encoding } from '../../../src/tasks/task.ts';
import { fakeModel } from '../../helpers/fake-model.ts';

const options = { maxTokens: 512, truncate: false, needsOffsets: false, tokenTypes: 'segment' } as const;
const inputs = ['slow', 'quick', 'fine'].map((text, item) => ({ text, item }));

/** A tokenizer that ends each text when the test says so. */
function heldTokenizer() {
  const ends = new Map<string, { resolve: (encodings: Encoding[]) => void; reject: (error: Error) => void }>();
  const encode = ({ text }: { text: string }): Promise<Encoding[]> => new Promise((resolve, reject) => ends.set(text, { resolve, reject }));
  return { tokenizer: { encode }, end: (text: string) => ends.get(text) };
}

const encoding = (id: number): Encoding => ({ ids: Int32Array.of(id), firstToken: 0, truncated: false });

t.test('the first wrong input is named, not the first to fail', async (t) => {
  const { tokenizer, end } = heldTokenizer();
  const encoded = encodeInputs({ ...fakeModel('a'), tokenizer }, inputs, options);
  end('quick')?.reject(new ServiceError('input_too_long', 'quick is too long'));
  end('fine')?.resolve([encoding(3)]);
  end('slow')?.reject(new Error('no such piece'));
  await t.rejects(encoded, { code: 'tokenization_failed', errors: [{ path: '/inputs/0', message: 'no such piece' }] });
});

t.test('encodings keep the order of their inputs and windows', async (t) => {
  const { tokenizer, end } = heldTokenizer();
  const encoded = encodeInputs({ ...fakeModel('a'), tokenizer }, inputs, options);
  end('fine')?.resolve([encoding(4)]);
  end('quick')?.resolve([encoding(2), encoding(3)]);
  end('slow')?.resolve([encoding(1)]);
  t.same(
    (await encoded).map(({ input, encoding: { ids } }) => [input.text, ids[0]]),
    [
      ['slow', 1],
      ['quick', 2],
      ['quick', 3],
      ['fine', 4],
    ],
  );
});

// What config.json and its neighbours say of a model: task, labels, pooling, limits.
import t from 'tap';
import {
  type JsonObject,
  type ModelJson,
  poolingDirectory,
  readFacts,
  readLabels,
  readMaxTokens,
  readPooling,
  readTask,
} from '../../../src/engine/model-config.ts';

const json = (config: JsonObject, others: Omit<ModelJson, 'config'> = {}): ModelJson => ({ config, ...others });

t.test('task from architectures, then from the sentence-transformers files', async (t) => {
  const task = (name: string, others: Omit<ModelJson, 'config'> = {}) => readTask(json({ architectures: [name] }, others));
  t.equal(task('DistilBertForSequenceClassification'), 'text-classification');
  t.equal(task('XLMRobertaForTokenClassification'), 'token-classification');
  t.equal(task('BertModel'), 'feature-extraction');
  t.equal(task('BertForMaskedLM', { sentenceBert: {} }), 'feature-extraction');
  t.equal(readTask(json({}, { modules: [] })), 'feature-extraction');
  t.equal(task('BertForSequenceClassification', { modules: [] }), 'text-classification', 'a cross-encoder is a classifier');
  t.throws(() => task('BertForMaskedLM'), /architecture BertForMaskedLM is not served.*\?task=/u);
  t.throws(() => task('T5ForConditionalGeneration'), /is not served/u);
  t.throws(() => readTask(json({})), /names no architectures/u);
});

t.test('labels in id order', async (t) => {
  t.same(readLabels({ id2label: { 10: 'k', 2: 'c', 0: 'a', 1: 'b', 3: 'd', 4: 'e', 5: 'f', 6: 'g', 7: 'h', 8: 'i', 9: 'j' } }), [
    'a',
    'b',
    'c',
    'd',
    'e',
    'f',
    'g',
    'h',
    'i',
    'j',
    'k',
  ]);
  t.same(readLabels({ num_labels: 3 }), ['LABEL_0', 'LABEL_1', 'LABEL_2']);
  t.same(readLabels({}), ['LABEL_0', 'LABEL_1'], 'Hugging Face assumes two');
  t.throws(() => readLabels({ id2label: { 1: 'a', 2: 'b' } }), /from 0 on/u);
  t.throws(() => readLabels({ id2label: { 0: 1 } }), /to texts/u);
  t.throws(() => readLabels({ id2label: 'x' }), /not an object/u);
});

t.test('how scores are made', async (t) => {
  const type = (config: JsonObject) => readFacts(json(config), 'text-classification').problemType;
  t.equal(type({}), 'single_label');
  t.equal(type({ problem_type: 'multi_label_classification' }), 'multi_label');
  t.equal(type({ problem_type: 'regression' }), 'regression');
  t.equal(type({ id2label: { 0: 'LABEL_0' } }), 'multi_label', 'one output is a sigmoid');
  t.throws(() => type({ problem_type: 'other' }), /problem_type/u);
});

t.test('longest input', async (t) => {
  const limit = (config: JsonObject, others: Omit<ModelJson, 'config'> = {}) => readMaxTokens(json(config, others), 'feature-extraction');
  t.equal(limit({ max_position_embeddings: 512, model_type: 'bert' }), 512);
  t.equal(limit({ max_position_embeddings: 514, model_type: 'roberta', pad_token_id: 1 }), 512, 'positions start behind the padding id');
  t.equal(limit({ max_position_embeddings: 514, model_type: 'mpnet', pad_token_id: 1 }), 512);
  t.equal(limit({ max_position_embeddings: 512, model_type: 'bert', pad_token_id: 1 }), 512);
  t.equal(limit({ n_positions: 1024 }), 1024);
  t.equal(limit({ max_position_embeddings: 512 }, { tokenizerConfig: { model_max_length: 128 } }), 128);
  t.equal(limit({ max_position_embeddings: 512 }, { tokenizerConfig: { model_max_length: 1e30 } }), 512, 'the mark of no limit');
  t.equal(limit({ max_position_embeddings: 512 }, { sentenceBert: { max_seq_length: 256 } }), 256);
  t.equal(readMaxTokens(json({ max_position_embeddings: 512 }, { sentenceBert: { max_seq_length: 256 } }), 'text-classification'), 512);
  t.equal(limit({ max_position_embeddings: -1 + 1 }), 512, 'relative positions have no table');
  t.equal(limit({}), 512);
  t.throws(() => limit({ max_position_embeddings: 'many' }), /max_position_embeddings/u);
});

t.test('length of a window of a document', async (t) => {
  const window = (config: JsonObject) => readFacts(json({ id2label: { 0: 'O' }, ...config }), 'token-classification').windowTokens;
  t.equal(window({}), undefined);
  t.equal(window({ glossa: { window_tokens: 128 } }), 128);
  t.throws(() => window({ glossa: { window_tokens: 7 } }), /window_tokens/u);
  t.throws(() => window({ glossa: { window_tokens: 'long' } }), /window_tokens/u);
});

t.test('pooling', async (t) => {
  const pooling = (value: JsonObject | undefined) => readPooling(json({}, { pooling: value }));
  t.equal(pooling(undefined), 'mean');
  t.equal(pooling({ pooling_mode_cls_token: true, pooling_mode_mean_tokens: false }), 'cls');
  t.equal(pooling({ pooling_mode_cls_token: false, pooling_mode_mean_tokens: true }), 'mean');
  t.equal(pooling({ pooling_mode_max_tokens: true }), 'max');
  t.equal(pooling({ pooling_mode_lasttoken: true }), 'last');
  t.equal(pooling({ pooling_mode: 'cls' }), 'cls');
  t.equal(pooling({ pooling_mode: ['lasttoken'] }), 'last');
  t.equal(pooling({}), 'mean');
  t.throws(() => pooling({ pooling_mode_mean_sqrt_len_tokens: true }), /mean_sqrt_len/u);
  t.throws(() => pooling({ pooling_mode_cls_token: true, pooling_mode_mean_tokens: true }), / \+ /u, 'two vectors side by side');
  t.throws(() => pooling({ pooling_mode: 'weightedmean' }), /weightedmean/u);
});

t.test('modules of sentence-transformers', async (t) => {
  const module = (type: string, path: string) => ({ type: `sentence_transformers.models.${type}`, path });
  t.equal(poolingDirectory(undefined, false), '1_Pooling');
  t.equal(poolingDirectory([module('Transformer', ''), module('Pooling', 'pool'), module('Normalize', '2_Normalize')], false), 'pool');
  const dense = [module('Transformer', ''), module('Pooling', '1_Pooling'), module('Dense', '2_Dense')];
  t.throws(() => poolingDirectory(dense, false), /Dense/u, 'embeddings without it would be wrong');
  t.equal(poolingDirectory(dense, true), '1_Pooling');
});

t.test('width of an embedding', async (t) => {
  const width = (config: JsonObject) => readFacts(json(config), 'feature-extraction').hiddenSize;
  t.equal(width({ hidden_size: 384 }), 384);
  t.equal(width({ dim: 768 }), 768, 'DistilBERT');
  t.throws(() => width({}), /hidden_size/u);
  t.equal(readFacts(json({ hidden_size: 384 }), 'text-classification').hiddenSize, 0);
});

// Which ONNX file of a directory is served, by device and wanted form.
import t from 'tap';
import { chooseGraph } from '../../../src/engine/graph-choice.ts';
import { wantedFiles } from '../../../src/engine/wanted-files.ts';

const all = ['onnx/model.onnx', 'onnx/model_fp16.onnx', 'onnx/model_quantized.onnx', 'onnx/model_q4.onnx'];

t.test('the best form for the device, or the one that was asked for', async (t) => {
  t.same(chooseGraph(all, 'cpu', undefined), { path: 'onnx/model_quantized.onnx', dtype: 'q8' });
  t.same(chooseGraph(all, 'cuda', undefined), { path: 'onnx/model_fp16.onnx', dtype: 'fp16' });
  t.same(chooseGraph(all, 'cpu', 'fp32'), { path: 'onnx/model.onnx', dtype: 'fp32' });
  t.equal(chooseGraph(all, 'cpu', 'bnb4'), undefined);
  t.same(chooseGraph(['onnx/model.onnx'], 'cpu', undefined), { path: 'onnx/model.onnx', dtype: 'fp32' });
});

t.test('at the top of the directory, and under a name of its own when it is the only one', async (t) => {
  t.same(chooseGraph(['model.onnx', 'config.json'], 'cpu', undefined), { path: 'model.onnx', dtype: 'fp32' });
  t.same(chooseGraph(['onnx/model_qint8_avx512.onnx'], 'cpu', undefined), { path: 'onnx/model_qint8_avx512.onnx', dtype: 'qint8_avx512' });
  t.equal(chooseGraph(['onnx/encoder.onnx', 'onnx/decoder.onnx'], 'cpu', undefined), undefined);
  t.equal(chooseGraph([], 'cpu', undefined), undefined);
});

t.test('what is worth fetching', async (t) => {
  const files = [
    ...all,
    'onnx/model_quantized.onnx_data',
    'onnx/model_quantized.onnx_data_1',
    'onnx/model.onnx_data',
    'config.json',
    'tokenizer.json',
    'tokenizer_config.json',
    'special_tokens_map.json',
    'vocab.txt',
    'modules.json',
    'sentence_bert_config.json',
    '1_Pooling/config.json',
    'README.md',
    'pytorch_model.bin',
    'model.safetensors',
    '.gitattributes',
  ];
  t.same(wantedFiles(files, 'cpu', undefined).toSorted(), [
    '1_Pooling/config.json',
    'README.md',
    'config.json',
    'modules.json',
    'onnx/model_quantized.onnx',
    'onnx/model_quantized.onnx_data',
    'onnx/model_quantized.onnx_data_1',
    'sentence_bert_config.json',
    'special_tokens_map.json',
    'tokenizer.json',
    'tokenizer_config.json',
  ]);
  t.ok(wantedFiles(files, 'cpu', 'fp32').includes('onnx/model.onnx_data'));
});

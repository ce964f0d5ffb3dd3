// A directory of a small decoder for GLOSSA_DEVICE=fake: a real byte-level tokenizer and chat template, no graph.
import { readFileSync } from 'node:fs';
import { inRepository } from './repository.ts';
import { writeModelDirectory } from './model-directory.ts';

export interface DecoderDirectoryOptions {
  /** Milliseconds of each step of made-up tokens; 0 when absent. */
  readonly stepMs?: number;
  readonly contextTokens?: number;
}

const template =
  "{% for message in messages %}<s>{{ message['role'] }}\n{{ message['content'] }}</s>\n{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}";

/** Writes the directory and returns its path. */
export function writeDecoderDirectory(directory: string, { stepMs = 0, contextTokens = 512 }: DecoderDirectoryOptions = {}): string {
  return writeModelDirectory(directory, {
    config: {
      architectures: ['LlamaForCausalLM'],
      model_type: 'llama',
      id2label: undefined,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      num_key_value_heads: 1,
      hidden_size: 16,
      vocab_size: 500,
      max_position_embeddings: contextTokens,
      bos_token_id: 0,
      pad_token_id: 1,
      eos_token_id: 2,
      glossa: { fake: { stepMs } },
    },
    files: {
      'tokenizer.json': readFileSync(inRepository('test/fixtures/tokenizers/byte-level-bpe/tokenizer.json')),
      'tokenizer_config.json': {
        bos_token: '<s>',
        eos_token: '</s>',
        pad_token: '<pad>',
        chat_template: template,
        model_max_length: contextTokens,
      },
    },
  });
}

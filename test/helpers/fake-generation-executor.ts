// Workers for generation under a test's control, and a tokenizer whose tokens are characters. Main thread.
import type { ModelDescriptor } from '../../src/engine/executor.ts';
import type {
  ChatMessage,
  GenerationExecutor,
  GenerationLoad,
  SequenceHandle,
  SequenceListener,
  SequenceRequest,
  StepObservation,
} from '../../src/engine/generation.ts';
import type { CertainToken, GenerationText, TokenTexts } from '../../src/engine/generation-text.ts';

/** One sequence as a worker has it; the test speaks for the worker. */
export class FakeSequence {
  readonly request: SequenceRequest;
  readonly listener: SequenceListener;
  readonly aborts: (number | undefined)[] = [];
  readonly pauses: boolean[] = [];

  constructor(request: SequenceRequest, listener: SequenceListener) {
    this.request = request;
    this.listener = listener;
  }

  start(cachedTokens = 0): void {
    this.listener.onStarted({ promptTokens: this.request.promptIds.length, cachedTokens, queueMs: 1 });
    this.listener.onPrefilled(2);
  }

  /** A token for each character. */
  say(text: string, choice = 0): void {
    this.listener.onTokens(choice, charIds(text), undefined);
  }
}

export class FakeGenerationExecutor implements GenerationExecutor {
  readonly sequences: FakeSequence[] = [];
  load: GenerationLoad = { slots: 4, running: 0, waiting: 0, usedTokens: 0, capacityTokens: 100, prefixBytes: 0 };
  liveWorkers = 1;
  recovering = false;
  failureReason: string | undefined;

  addSequence(request: SequenceRequest, listener: SequenceListener): SequenceHandle {
    const sequence = new FakeSequence(request, listener);
    this.sequences.push(sequence);
    return { abort: (choice) => void sequence.aborts.push(choice), pause: (paused) => void sequence.pauses.push(paused) };
  }

  generationLoad(): GenerationLoad {
    return this.load;
  }

  onStep(_listener: (step: StepObservation) => void): void {
    // Nobody takes steps here.
  }

  liveWorkerCount(): number {
    return this.liveWorkers;
  }

  isRecovering(): boolean {
    return this.recovering;
  }

  failure(): string | undefined {
    return this.failureReason;
  }

  /** The sequence that was added last. */
  get last(): FakeSequence {
    const sequence = this.sequences.at(-1);
    if (sequence === undefined) throw new Error('no sequence was added');
    return sequence;
  }
}

export function charIds(text: string): number[] {
  return Array.from(text, (character) => character.codePointAt(0) ?? 0);
}

/** Tokens are characters; a chat is `role:content|` for each message. */
export class CharText implements GenerationText {
  hasChatTemplate = true;

  async encode(text: string): Promise<Int32Array> {
    return Int32Array.from(charIds(text));
  }

  applyChatTemplate(messages: readonly ChatMessage[], { addGenerationPrompt }: { readonly addGenerationPrompt: boolean }): string {
    if (messages.some(({ role }) => role === 'nobody')) throw new Error('there is no such role');
    return messages.map(({ role, content }) => `${role}:${content}|`).join('') + (addGenerationPrompt ? '>' : '');
  }

  tokenText(tokenId: number): string {
    return String.fromCodePoint(tokenId);
  }

  /** Holds a `<` back until the next token, as an incomplete character is. */
  detokenizer({ stop }: { readonly stop: readonly string[] }): TokenTexts {
    let index = 0;
    let text = '';
    let stopped = false;
    let held: CertainToken[] = [];
    return {
      push: (tokenId) => {
        const token = { index: index++, tokenId, text: String.fromCodePoint(tokenId) };
        if (stop.includes(token.text)) {
          stopped = true;
          return [...held.splice(0), { ...token, text: '' }];
        }
        text += token.text;
        held.push(token);
        return token.text === '<' ? [] : held.splice(0);
      },
      finish: () => {
        const rest = held;
        held = [];
        return rest;
      },
      get stopped() {
        return stopped;
      },
      get text() {
        return text;
      },
    };
  }
}

export function decoderDescriptor(options: Partial<ModelDescriptor> = {}): ModelDescriptor {
  return {
    id: 'writer@1',
    name: 'writer',
    directory: '/nowhere/writer',
    onnxPath: '/nowhere/writer/onnx/model.onnx',
    task: 'text-generation',
    facts: { labels: [], problemType: 'single_label', pooling: 'mean', maxTokens: 100, hiddenSize: 0 },
    dtype: 'q8',
    revision: 'r1',
    graphOptimizationLevel: 'all',
    batchAlways: false,
    vocabSize: 200,
    padTokenId: 0,
    tokenTypes: 'segment',
    probe: { tokenIds: new Int32Array(), lengths: new Int32Array() },
    decoder: {
      layout: 'in-place',
      layerCount: 1,
      kvHeadCount: 1,
      headSize: 1,
      vocabSize: 200,
      contextTokens: 100,
      eosTokenIds: [2],
      selfTest: [],
    },
    isDefault: true,
    ...options,
  };
}

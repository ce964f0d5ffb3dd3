// The process: settings → logger → app → ports and workers → signals → drain → exit code. Main thread.
// Must not know rooms: app.ts builds and ends the service.
import { buildApp } from './app.ts';
import { type Config, loadConfig } from './config.ts';
import { StartupError } from './errors.ts';
import { createLogger, type Logger } from './observability/logger.ts';

type App = Awaited<ReturnType<typeof buildApp>>;

/** An error that nobody handled (sysexits.h: internal software error). */
const internalErrorCode = 70;
/** Longest wait for log lines to leave before the process ends itself, in milliseconds. */
const flushMs = 250;
/** Longest wait for workers after an error that nobody handled, in milliseconds. */
const abortMs = 2000;
/** What closing may take beyond the drain's own deadlines, in milliseconds. */
const closeMs = 1800;

let logger = createLogger({ level: 'info' });
let app: App | undefined;

process.on('uncaughtException', (error) => void crash(error));
process.on('unhandledRejection', (reason) => void crash(reason));

/** A start may fetch models for minutes: a SIGHUP must not end it, and counts once the service is ready. */
let earlyHangUp = false;
let onHangUp = (): void => {
  earlyHangUp = true;
};
process.on('SIGHUP', () => onHangUp());

try {
  const config = loadConfig(process.env);
  logger = createLogger({ level: config.values.LOG_LEVEL });
  app = await buildApp(config, logger);
  handleSignals(app, config, logger);
  await app.start();
  const service = app;
  onHangUp = () => reload(service, logger);
  if (earlyHangUp) onHangUp();
} catch (error) {
  await failStart(error);
}

/** One line with every problem, whatever LOG_LEVEL says, then the exit code that names the kind. */
async function failStart(error: unknown): Promise<void> {
  if (!(error instanceof StartupError)) return crash(error);
  const { exitCode, problems } = error;
  createLogger({ level: 'fatal' }).fatal({ exitCode, problems }, `cannot start: ${problems.join('; ')}`);
  if (app?.stuck === true) {
    kill();
    return;
  }
  // No run is in progress: a start that failed has ended its workers, or never had any.
  process.exit(exitCode);
}

function handleSignals(service: App, config: Config, log: Logger): void {
  let ending = false;
  const end = (signal: NodeJS.Signals): void => {
    log.info({ signal }, ending ? 'ending at once' : 'signal received');
    if (ending) {
      kill();
      return;
    }
    ending = true;
    const { GLOSSA_DRAIN_DELAY_MS, GLOSSA_DRAIN_TIMEOUT_MS } = config.values;
    setTimeout(() => kill('the drain deadline has passed'), GLOSSA_DRAIN_DELAY_MS + GLOSSA_DRAIN_TIMEOUT_MS + closeMs);
    service.close().then(
      // The workers have ended; whatever handle is left must not keep the process.
      () => process.exit(0),
      (error: unknown) => kill(error instanceof Error ? error.message : 'closing failed'),
    );
  };
  process.on('SIGTERM', end);
  process.on('SIGINT', end);
}

function reload(service: App, log: Logger): void {
  service.reload().catch((error: unknown) => {
    log.error(
      { problems: error instanceof StartupError ? error.problems : [String(error)] },
      'reload failed: the models from before are still served',
    );
  });
}

/** State is unknown now: ends in order when the workers are idle soon, else like `kill`. */
async function crash(error: unknown): Promise<void> {
  logger.fatal({ err: error }, 'internal error');
  setTimeout(() => kill(), abortMs);
  // An exit during a run in a worker thread would abort the whole process with a core dump.
  try {
    await app?.abort();
    process.exit(internalErrorCode);
  } catch {
    kill();
  }
}

/** Ends the process whatever its threads do: SIGKILL is the one clean way while a run is in progress. */
function kill(reason?: string): void {
  if (reason !== undefined) logger.fatal({ reason }, 'ending at once');
  app?.interrupt();
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), flushMs);
  logger.flush(() => process.kill(process.pid, 'SIGKILL'));
}
